"""`Optimizer`: the OptimizerV2 API on Keras 3, for RMSProp and for users' own."""

import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from keras_rmsprop import mistakes, sharding
from keras_rmsprop.annotations import Config, GradsAndVars, Variables
from keras_rmsprop.legacy.copying import Copying
from keras_rmsprop.legacy.gradients import Gradients
from keras_rmsprop.legacy.hyperparameters import Hyperparameters, check_hyperparameter
from keras_rmsprop.legacy.slots import Slots
from keras_rmsprop.legacy.step import Step
from keras_rmsprop.legacy.weights import Weights
from keras_rmsprop.shown import Shown

if TYPE_CHECKING:
    from typing_extensions import Self

Transformation = Callable[[list[tuple[Any, Any]]], GradsAndVars]
# What `**kwargs` may be.
_KEYWORDS = ("clipnorm", "clipvalue", "decay", "global_clipnorm", "lr")


class Optimizer(
    Shown,
    Step,
    Gradients,
    Hyperparameters,
    Slots,
    Weights,
    Copying,
    keras.optimizers.Optimizer,
):
    """Base class that runs OptimizerV2 optimizers on Keras 3.

    An optimizer written for `tf.keras.optimizers.legacy.Optimizer` runs with
    `model.compile` and `fit`, in custom loops, under `tf.distribute` and in TF1
    graphs when this class takes that one's place. A subclass sets its
    hyperparameters in `__init__` and overrides

    - `_create_slots(var_list)`: calls `add_slot` for each variable and slot;
    - `_resource_apply_dense(grad, var, apply_state)`: one step;
    - `_resource_apply_sparse(grad, var, indices, apply_state)`: one step for some
      rows, whose `indices` are distinct;
    - `_prepare_local(var_device, var_dtype, apply_state)`: optionally, what all
      variables of one device and dtype share in a step;
    - `get_config()`.

    Hyperparameters given to `_set_hyper` are attributes: reading one gives its
    variable, setting one changes training, also inside a compiled `fit`.

    Noteworthy differences from `tf.keras.optimizers.legacy.Optimizer`:

    - `variables` is a list, as Keras 3 has it; calling it, as before, works too.
    - Variable constraints also apply after sparse gradients.
    - Replacing a schedule or a callable by a number (or the reverse) warns if a
      compiled function has used the old one, because that function keeps it.
    - Gradients are checked before anything changes.
    - Keras 3's own hooks (`update_step`, `add_variable`) are not used.

    Args:
        name: String, or None for the class name in snake case. Name scope of the
            variables and operations.
        gradient_aggregator: Callable from a list of `(gradient, variable)` to
            such a list, which sums gradients over replicas. Defaults to None:
            an all-reduce.
        gradient_transformers: List of such callables, applied after clipping.
            Defaults to None.
        **kwargs: Any of these. `clipnorm`: float >= 0, norm that no single
            gradient may exceed. `clipvalue`: float >= 0, bound of each gradient
            element. `global_clipnorm`: float >= 0, norm that all gradients
            together may not exceed; not with `clipnorm`. `decay`: float >= 0, or
            a callable without arguments; the learning rate is divided by
            `1 + decay * iterations`. `lr`: former name of `learning_rate`, for
            subclasses that take it.

    Raises:
        TypeError: If an argument is unknown.
        ValueError: If an argument is out of range.

    Example:

    >>> class SGD(Optimizer):
    ...     def __init__(self, learning_rate=0.01, name="SGD", **kwargs):
    ...         super().__init__(name, **kwargs)
    ...         self._set_hyper("learning_rate", learning_rate)
    ...
    ...     def _resource_apply_dense(self, grad, var, apply_state=None):
    ...         return var.assign_sub(self._decayed_lr(var.dtype) * grad)
    >>> variable = tf.Variable(2.0)
    >>> _ = SGD(0.25).minimize(lambda: variable**2, [variable])
    >>> float(variable)
    1.0

    Source: `tf.keras.optimizers.legacy.Optimizer` of TensorFlow 2.9.
    """

    # Whether `apply_gradients` takes `experimental_aggregate_gradients`, for those who
    # ask: Keras 2 did.
    _HAS_AGGREGATE_GRAD = False
    # What Keras 3 asks of every optimizer. Its `__init__`, which would set these
    # and create variables at once, is not called: an OptimizerV2 creates its own
    # variables late, so that it can be made before, and used in, any graph.
    built = False
    use_ema = False
    loss_scale_factor = None
    gradient_accumulation_steps = None

    def __init__(
        self,
        name: str | None,
        gradient_aggregator: Transformation | None = None,
        gradient_transformers: list[Transformation] | None = None,
        **kwargs: Any,
    ) -> None:
        self._refuse_unknown(kwargs, _KEYWORDS, Optimizer)
        for key, value in kwargs.items():
            if value is not None:
                check_hyperparameter(key, value)
        if "lr" in kwargs:
            warnings.warn("`lr` is the former name of `learning_rate`.", stacklevel=3)
        self._use_locking = True
        self._init_set_name(name)
        self._initial_decay = kwargs.get("decay", 0.0)
        Hyperparameters.__init__(self)
        Weights.__init__(self)
        Slots.__init__(self)
        Gradients.__init__(self, gradient_aggregator, gradient_transformers, kwargs)

    def _refuse_unknown(self, kwargs, allowed, last):
        cls = type(self)
        unknown = {key: value for key, value in kwargs.items() if key not in allowed}
        if unknown:
            allowed = {*mistakes.parameters(cls, last), *allowed}
            raise TypeError(mistakes.unknown_arguments(cls.__name__, unknown, allowed))

    @property
    def name(self) -> str:
        """The name scope of variables and operations."""
        return self._name

    def build(self, variables: Variables) -> None:
        """Creates all variables of the optimizer, as Keras 3 does before training.

        Args:
            variables: List of `tf.Variable`, `keras.Variable` or `ShardedVariable`.

        Raises:
            TypeError: If these are no variables.
            ValueError: If one is neither floating nor complex.
        """
        variables = mistakes.list_of_variables("variables", variables)
        variables = sharding.expanded(variables)
        natives = self._natives(variables)
        for variable in natives:
            if not mistakes.is_variable(variable):
                raise TypeError(mistakes.no_variable("variables", variable))
        self._assert_valid_dtypes(natives)
        with tf.name_scope(self._name), tf.init_scope():
            self._create_all_weights(natives)
        self._trainable_variables = variables

    def _shown_arguments(self):
        held = self.__dict__
        hyper = dict(held.get("_hyper", {}))
        if not tf.executing_eagerly():  # Where variables cannot be read.
            hyper |= held.get("_hyper_numbers", {})
        names = (*_KEYWORDS, "epsilon", "centered", "name")
        others = {name: held[name] for name in names if name in held}
        return others | hyper | ({"name": self._name} if "_name" in held else {})

    def get_config(self) -> Config:
        """Returns the arguments that rebuild this optimizer, without its state."""
        config = {"name": self._name}
        for name in ("clipnorm", "clipvalue", "global_clipnorm"):
            if getattr(self, name) is not None:
                config[name] = getattr(self, name)
        return config

    @classmethod
    def from_config(
        cls, config: Config, custom_objects: dict[str, Any] | None = None
    ) -> "Self":
        """Returns a new optimizer.

        Args:
            config: Dictionary, as `get_config` returns it. The learning rate may
                stand under its former name `lr`, and may be the configuration of a
                schedule.
            custom_objects: Dictionary from names to classes of schedules that are
                not Keras'.
        """
        config = dict(config)
        if "lr" in config:
            config["learning_rate"] = config.pop("lr")
        if isinstance(config.get("learning_rate"), dict):
            schedule = dict(config["learning_rate"])
            # Keras 2 left schedules unnamed, which Keras 3 does not allow.
            schedule["config"] = {
                key: value
                for key, value in schedule["config"].items()
                if key != "name" or value is not None
            }
            config["learning_rate"] = keras.optimizers.schedules.deserialize(
                schedule, custom_objects=custom_objects
            )
        return cls(**config)

    def _init_set_name(self, name, zero_based=True):
        """Sets the name scope, by default to one that no other optimizer has."""
        self._name = name or _unique_name(type(self), zero_based)


def _unique_name(cls, zero_based):
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__)
    name = name.lower()
    uid = keras.backend.get_uid(name) - zero_based
    return f"{name}_{uid}" if uid else name
