"""`RMSprop`: the Keras 3 optimizer, with the numerics of any generation."""

import threading
import warnings
from collections.abc import Iterable
from typing import Any

import keras

from keras_rmsprop import arguments, mistakes
from keras_rmsprop.annotations import (
    Config,
    LearningRate,
    Number,
    Store,
    Variables,
)
from keras_rmsprop.backends.current import Step
from keras_rmsprop.shown import Shown
from keras_rmsprop.state import Copied, checked_state
from keras_rmsprop.taking_on import as_a_whole
from keras_rmsprop.update_rule import RULES, UpdateRule

_SLOT_DECIDING = ("update_rule", "momentum", "centered")
# What a function that is being compiled takes in as it is at that moment.
_CONSTANTS = (
    *("rho", "momentum", "epsilon", "update_rule", "sparse_updates", "weight_decay"),
    *("clipnorm", "clipvalue", "global_clipnorm", "loss_scale_factor"),
    *("ema_momentum", "ema_overwrite_frequency"),
)
_SHOWN = ("centered", *_CONSTANTS, "use_ema", "gradient_accumulation_steps")


@keras.saving.register_keras_serializable(package="keras_rmsprop")
class RMSprop(Shown, Step, keras.optimizers.Optimizer):
    """RMSProp with the API and the state of `keras.optimizers.RMSprop`.

    Noteworthy differences from `keras.optimizers.RMSprop`:

    - Sparse gradients (`tf.IndexedSlices`, as embeddings give) update only the
      rows they name; Keras decays every row. `sparse_updates="dense"` gives
      Keras' behaviour. (Weight decay and moving averages, where asked for, are
      not part of the update and go over all rows. On JAX and PyTorch embeddings
      have dense gradients.)
    - Slices that share an index are summed first; Keras squares them one by one.
    - Centered steps stay finite where rounding makes the variance negative.
    - Gradients, indices and arguments are checked, and wrong ones refused before
      anything changes. Only what XLA compiles (`jit_compile=True`, and every step on
      JAX) cannot check indices: there, one out of range is dropped.
    - `update_rule` selects the numerics of TF1 or OptimizerV2 instead.
    - Variables may come later: one optimizer serves several models, and layers that
      are unfrozen. Their slots start as those of new variables, and moving averages
      at the variable. `iterations`, and with it schedules and gradient accumulation,
      count the steps of all together.
    - Under a `tf.distribute.Strategy` gradients are clipped after the sum over
      replicas, as those of the joint batch are; Keras clips each replica's.
    - A first step that fails, be it by an interrupt, leaves the optimizer as it was.
      So does a later one in `fit` or a `tf.function`, which take it as a whole; one
      taken eagerly may have moved some of the variables, and is not counted.
    - Copies, also pickled ones, come with their slots: see `build`.

    With the discounted mean `ms` of squared gradients (and `mg` of gradients,
    zero unless centered) a step is

        ms = rho * ms + (1 - rho) * g**2
        step = learning_rate * g / sqrt(ms - mg**2 + epsilon)
        variable -= step                      (momentum = 0)
        m = momentum * m + step; variable -= m    (momentum > 0)

    Args:
        learning_rate: A float (below 0 it ascends), a
            `keras.optimizers.schedules.LearningRateSchedule`, or a callable
            without arguments that returns the value to use. Defaults to 0.001.
        rho: Float in [0, 1], discount of the means. Defaults to 0.9.
        momentum: Float in [0, 1]. Defaults to 0.0, which keeps no momentum slot
            (but under `update_rule="tf1"`).
        epsilon: Float >= 0, added for numerical stability, or None for the rule's
            own: 1e-10 under `"tf1"`. Defaults to 1e-7 whatever the rule.
        centered: Whether to divide by the root of the variance of the gradient
            instead of its mean square, at the cost of one more slot. Defaults
            to False.
        weight_decay: Float >= 0, or None. The share of each variable that is
            subtracted per step, times the learning rate. Defaults to None.
        clipnorm: Float > 0, or None. Norm that no single gradient may exceed.
        clipvalue: Float > 0, or None. Bound of each gradient element.
        global_clipnorm: Float > 0, or None. Norm that all gradients together
            may not exceed. At most one of the three may be given.
        use_ema: Whether to keep a moving average of the variables.
        ema_momentum: Float in [0, 1], discount of that average.
        ema_overwrite_frequency: Every how many steps the variables take the
            value of their average, an integer >= 1; None for only at the end of
            training.
        loss_scale_factor: Float > 0, or None. What the loss is multiplied by
            and the gradients are divided by.
        gradient_accumulation_steps: Integer >= 2, or None. Over how many steps
            gradients are averaged before they are applied. Sparse gradients
            are accumulated, and then applied, as dense ones.
        name: Name of the optimizer and prefix of its variables.
        update_rule: `"keras"`, `"keras2"`, `"legacy"`, `"tf1"`, or an `UpdateRule`.
            On TensorFlow, on CPU and not compiled by XLA, the last three give the bits
            of `tf.keras.optimizers.RMSprop` of TensorFlow 2.11 to 2.15 (with
            `sparse_updates="dense"`), `tf.keras.optimizers.legacy.RMSprop` and
            `tf.compat.v1.train.RMSPropOptimizer`. Defaults to `"keras"`.
        sparse_updates: `"lazy"` leaves rows that the gradient does not name, and
            their slots, as they are. `"dense"` treats the gradient as dense, so
            that every row decays. Defaults to `"lazy"`.

    Raises:
        ValueError: If an argument is unknown or out of range.

    Example:

    >>> optimizer = RMSprop(learning_rate=0.1)
    >>> variable = keras.Variable(10.0)
    >>> optimizer.apply([variable.value], [variable])
    >>> print(f"{float(variable):.5f}")
    9.68377

    Source: Hinton, 2012, Neural Networks for Machine Learning, lecture 6e; the
    API is that of `keras.optimizers.RMSprop`.
    """

    def __init__(
        self,
        learning_rate: LearningRate = 0.001,
        rho: Number = 0.9,
        momentum: Number = 0.0,
        epsilon: Number | None = 1e-7,
        centered: bool = False,
        weight_decay: Number | None = None,
        clipnorm: Number | None = None,
        clipvalue: Number | None = None,
        global_clipnorm: Number | None = None,
        use_ema: bool = False,
        ema_momentum: Number = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: Number | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        *,
        update_rule: UpdateRule | str | Config = "keras",
        sparse_updates: str = "lazy",
        **kwargs: Any,
    ) -> None:
        if kwargs.get("decay", ...) is None:  # As configurations of Keras 2 have it.
            del kwargs["decay"]
        if kwargs:
            cls = type(self)
            raise ValueError(
                mistakes.unknown_arguments(
                    cls.__name__, kwargs, mistakes.parameters(cls, RMSprop)
                )
            )
        arguments.check_around_the_update(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
        )
        super().__init__(
            learning_rate=arguments.checked_learning_rate(learning_rate),
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        self.rho = rho
        self.momentum = momentum
        self.centered = centered
        self.update_rule = update_rule
        self.epsilon = epsilon
        self.sparse_updates = sparse_updates
        self._copied = None
        self._common = frozenset()
        self._building = threading.RLock()
        self._is_twin = False
        self._is_later = False
        self._traced = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = as_a_whole(cls.build)

    def __setattr__(self, name, value):
        if name == "epsilon" and value is None:
            value = self.update_rule.default_epsilon
        if name in arguments.CHECKS:
            value = arguments.CHECKS[name](value)
            if (
                self.__dict__.get("built")
                and self._has_slots(**{name: value}) != self._has_slots()
            ):
                raise ValueError(
                    f"`{name}` cannot be set to a value that needs other slots once "
                    f"the optimizer is built. Received: {name}={value!r}. Make a "
                    "new optimizer instead."
                )
        if self.__dict__.get("_traced"):
            self._warn_of_functions(name, value)
        super().__setattr__(name, value)

    def _warn_of_functions(self, name, value):
        if name in _CONSTANTS:
            former = getattr(self, name)
            changes = former != value
        elif name == "learning_rate":
            former = self._learning_rate  # A variable takes a number on.
            changes = former is not value and (callable(value) or callable(former))
        else:
            return
        if changes:
            warnings.warn(
                f"A function compiled before this (by `fit`, or a `tf.function`) keeps "
                f"the former `{name}`, {former!r}. Compile again, with `model.compile` "
                "or a new `tf.function`.",
                stacklevel=3,
            )

    def _has_slots(self, **changed):
        """Returns whether there is a momentum and a mean gradient slot."""
        values = {**{name: getattr(self, name) for name in _SLOT_DECIDING}, **changed}
        rule = values["update_rule"]
        return rule.has_momentum_slot(values["momentum"]), values["centered"]

    @property
    def learning_rate(self) -> Any:
        """The current learning rate: a `keras.Variable`, or a schedule's value."""
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, value: LearningRate) -> None:
        keras.optimizers.Optimizer.learning_rate.fset(self, value)

    @as_a_whole
    def build(self, variables: Variables) -> None:
        """Creates the slots of variables that have none, all or nothing.

        Steps do this for variables that are new to them. The optimizer's `variables`
        then stand as if all had been there from the start, in the order in which
        they came, and so does what is saved: to load it, build an optimizer with all
        of them in that order. (A `tf.train.Checkpoint` may also be restored first.)

        A copy of a built optimizer has its slots once it is built with the same
        variables, or copies of them, all at once and in their order.

        Args:
            variables: List of floating or complex variables to train. A
                `ShardedVariable` stands for its shards.

        Raises:
            TypeError: If `variables` is no list of variables.
            ValueError: If a variable has another dtype, or belongs to another
                `tf.distribute.Strategy` than the optimizer.
        """
        for variable in variables:
            arguments.check_dtype(variable)
            self._check_trainable(variable)
        super().build(variables)
        # Attribute names, variable names and their order are those of Keras, so
        # that its checkpoints and weight files fit.
        self._velocities = self.add_optimizer_variables(
            variables,
            "velocity",
            keras.initializers.Constant(self.update_rule.initial_mean_square),
        )
        # Each is assigned once: what a checkpoint holds for a list goes to the first.
        has_momentum, has_average = self._has_slots()
        self._momentums = self.add_optimizer_variables(
            variables if has_momentum else [], "momentum"
        )
        self._average_gradients = self.add_optimizer_variables(
            variables if has_average else [], "average_gradient"
        )
        self._look_up()

    def add_variable_from_reference(
        self,
        reference_variable: Any,
        name: str | None = None,
        initializer: Any = "zeros",
    ) -> Any:
        starts_late = self._is_later or self.update_rule.average_start == "variable"
        if name == "average" and starts_late:

            def initializer(shape, dtype):
                # A copy: what has the dtype already is not copied by a cast.
                return keras.ops.copy(keras.ops.cast(reference_variable, dtype))

        return super().add_variable_from_reference(
            reference_variable, name=name, initializer=initializer
        )

    def _shown_arguments(self):
        names = {name: name for name in _SHOWN} | {"learning_rate": "_learning_rate"}
        held = self.__dict__
        held = {name: held[key] for name, key in names.items() if key in held}
        rule = held.get("update_rule")
        if rule in RULES.values():
            held["update_rule"] = rule.name
        return held

    def get_config(self) -> Config:
        """Returns the arguments that rebuild this optimizer, without its state."""
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
            "update_rule": self.update_rule.get_config(),
            "sparse_updates": self.sparse_updates,
        }

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Sets all optimizer variables.

        Args:
            weights: List of arrays, one for each of `variables` and of its shape.

        Raises:
            ValueError: If their number or a shape differs, before any is set.
        """
        if self.built:
            weights = checked_state("weights", list(weights), self.variables)
        super().set_weights(weights)

    def load_own_variables(self, store: Store) -> None:
        """Sets all optimizer variables from what `save_own_variables` stored.

        Args:
            store: Mapping of `"0"`, `"1"`, ... to arrays. One of another length
                is skipped with a warning, as Keras does.

        Raises:
            ValueError: If a shape differs, before any variable is set.
        """
        if len(store.keys()) == len(self.variables):
            keys = [str(index) for index in range(len(self.variables))]
            if set(keys) != set(store.keys()):
                raise ValueError(
                    f"`store` must have the keys {keys}. "
                    f"Received: {sorted(store.keys())}"
                )
            values = checked_state(
                "store", [store[key] for key in keys], self.variables
            )
            store = dict(zip(keys, values))
        super().load_own_variables(store)

    def save_own_variables(self, store: Any) -> None:
        """Puts the state into a mapping of `"0"`, `"1"`, ... to arrays."""
        super().save_own_variables(store)
        if self._copied is not None:
            for index, value in enumerate(self._copied.slots, len(self.variables)):
                store[str(index)] = value

    # A copy, pickled or not, carries configuration and state. It takes the state on
    # when it is built, with the same variables or with copies of them.

    def __copy__(self):
        return Copied.of(self).optimizer()

    def __deepcopy__(self, memo):
        other = Copied.of(self).deep(memo).optimizer()
        memo[id(self)] = other
        return other

    def __reduce__(self):
        return Copied.optimizer, (Copied.of(self),)
