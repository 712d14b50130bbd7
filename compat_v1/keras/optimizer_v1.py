"""`RMSprop` as Keras had it in 2017, for TF1 graphs and for Keras 3."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from keras_rmsprop import legacy
from keras_rmsprop.annotations import Config, Variables
from keras_rmsprop.legacy.hyperparameters import Hyperparameter

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["RMSprop"]


@keras.saving.register_keras_serializable(package="compat_v1.keras.optimizer_v1")
class RMSprop(legacy.RMSprop):
    """RMSProp as `tf.keras.optimizers.RMSprop` was in TensorFlow 1.4 to 1.12.

    With the discounted mean `ms` of squared gradients, and the number of earlier
    steps `iterations`, a step is

        lr_t = lr * (1 / (1 + decay * iterations))
        ms = rho * ms + (1 - rho) * g**2
        variable -= lr_t * g / (sqrt(ms) + epsilon)

    Sparse gradients count as dense, also where they are clipped. Hyperparameters
    have the dtype that `keras.config.floatx()` names when the optimizer is made.
    Constraints of variables are applied after the step. Besides working in a TF1
    graph it trains a Keras 3 model, with all that `keras_rmsprop.legacy.RMSprop`
    offers for that.

    Noteworthy differences from TensorFlow 1.4 to 1.12: `decay` counts the steps
    before this one, where theirs reads the count while it changes; TensorFlow 1.4
    takes the norm for `clipnorm` over all gradients together; `epsilon` defaults to
    1e-8, as in 1.4, where 1.12 has 1e-7.

    Args:
        lr: Float, the learning rate; below 0 it ascends. Defaults to 0.001.
        rho: Float in [0, 1], discount of the mean. Defaults to 0.9.
        epsilon: Float >= 0, added for numerical stability. Defaults to 1e-8; None
            means `keras.config.epsilon()`. Half precision takes 1e-8 for zero.
        decay: Float >= 0, how fast the learning rate falls. Defaults to 0.0.
        **kwargs: `clipnorm`: float >= 0, norm that no single gradient may exceed.
            `clipvalue`: float >= 0, bound of each gradient element; applied after
            `clipnorm`. `name`: string, name scope of the variables.

    Raises:
        TypeError: If an argument is unknown.
        ValueError: If an argument is out of range.

    Example:

    >>> with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    ...     variable = tf.Variable([1.0, 2.0])
    ...     optimizer = RMSprop(lr=0.1)
    ...     updates = optimizer.get_updates(tf.reduce_sum(variable**2), [variable])
    ...     session.run(tf.compat.v1.global_variables_initializer())
    ...     _ = session.run(updates)
    ...     print([f"{value:.6f}" for value in session.run(variable)])
    ['0.683772', '1.683772']

    Source: Hinton, 2012, Neural Networks for Machine Learning, lecture 6e; the
    API is that of `tf.keras.optimizers.RMSprop` of TensorFlow 1.4.
    """

    def __init__(
        self,
        lr: Hyperparameter = 0.001,
        rho: Hyperparameter = 0.9,
        epsilon: Hyperparameter | None = 1e-8,
        decay: Hyperparameter = 0.0,
        **kwargs: Any,
    ) -> None:
        self._refuse_unknown(kwargs, ("clipnorm", "clipvalue", "name"), RMSprop)
        # Of the hyperparameters, when they become variables.
        self._floatx = keras.config.floatx()
        super().__init__(lr, rho=rho, epsilon=epsilon, decay=decay, **kwargs)
        self.sparse_updates = "dense"
        if epsilon is not None:
            self.epsilon = epsilon
        self.updates = []

    def _set_hyper(self, name, value):
        if isinstance(value, keras.optimizers.schedules.LearningRateSchedule):
            argument = "lr" if name == "learning_rate" else name
            raise ValueError(
                f"`{argument}` must be a number: this optimizer had no schedules. "
                f"Received: {argument}={value!r}. `keras_rmsprop.legacy.RMSprop` takes "
                "one."
            )
        super()._set_hyper(name, value)

    def _var_key(self, variable):
        # Keras 3 has no key for the reference variables of TF1, which this class
        # trained, unlike OptimizerV2.
        dtype = tf.as_dtype(variable.dtype)
        if dtype == dtype.base_dtype:
            return super()._var_key(variable)
        return variable.ref()

    def add_weight(
        self, name: str, shape: Sequence[int], dtype: Any = None, **kwargs: Any
    ) -> Any:
        return super().add_weight(name, shape, dtype or self._floatx, **kwargs)

    def _decayed_lr(self, var_dtype):
        # The 2017 class multiplied by an inverse where OptimizerV2 divided, and
        # left the product out where there was no decay: two other roundings.
        rate = self._get_hyper("learning_rate", var_dtype)
        decay = self._get_hyper("decay", var_dtype)
        step = tf.cast(self.iterations, var_dtype)
        return rate * (1.0 / (1.0 + tf.math.multiply_no_nan(step, decay)))

    def _transform_gradients(self, grads_and_vars):
        pairs = [(_dense(g, v), v) for g, v in grads_and_vars]
        if self.clipnorm is not None:
            pairs = [(tf.clip_by_norm(g, self.clipnorm), v) for g, v in pairs]
        if self.clipvalue is not None:
            bound = self.clipvalue
            pairs = [(tf.clip_by_value(g, -bound, bound), v) for g, v in pairs]
        return pairs

    def get_gradients(self, loss: Any, params: Variables) -> list[Any]:
        """Returns the clipped gradients of a loss, in a graph.

        Args:
            loss: Tensor.
            params: List of variables.

        Raises:
            RuntimeError: If executed eagerly.
            ValueError: If the loss has no gradient with respect to a variable.
        """
        params = tf.nest.flatten(params)
        grads = super().get_gradients(loss, params)
        return [g for g, _ in self._transform_gradients(zip(grads, params))]

    def get_updates(self, *args: Any, **kwargs: Any) -> list[Any]:
        """Returns a list of the operations that take one step, in a graph.

        It is called as `get_updates(loss, params)`, or as in Keras 1 and 2.0, as
        `get_updates(params, constraints, loss)`.

        Args:
            loss: Tensor.
            params: List of variables.
            constraints: Dictionary of functions, which are applied after the step, by
                variable (where variables are no keys, by `variable.ref()`); empty or
                None for none.

        Raises:
            RuntimeError: If executed eagerly.
            TypeError: If called in another way.
            ValueError: If the loss has no gradient with respect to a variable.
        """
        loss, params, constraints = _updates_arguments(args, kwargs)
        # `apply_gradients` clips, so these gradients must not be clipped already.
        grads = super().get_gradients(loss, params)
        step = self.apply_gradients(zip(grads, params))
        with tf.control_dependencies([step]):
            constrained = [
                param.assign(constraints[_reference(param)](param))
                for param in params
                if _reference(param) in constraints
            ]
        self.updates = [step, *constrained]
        return self.updates

    @property
    def weights(self) -> list[Any]:
        """List of the mean squares, one for each variable, without a step count."""
        return [weight for weight in self._weights if weight is not self._iterations]

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Sets the values of `weights`.

        Should be called after `get_updates`, or in Keras 3 after `build`: until
        then the optimizer has no weights.

        Args:
            weights: List of arrays, as `get_weights` returns it.

        Raises:
            ValueError: If their number or a shape differs, before any is set.
        """
        weights = list(weights)
        if len(weights) == len(self.weights) + 1 == len(self.variables):
            raise ValueError(
                f"`weights` was given {len(weights)} arrays, one for each of "
                "`variables`, but the optimizer was expecting "
                f"{len(self.weights)}, one for each of `weights`: without the step "
                "count, which `variables` begins with."
            )
        # Past OptimizerV2's RMSprop, which would take a missing array for a
        # missing step count.
        legacy.Optimizer.set_weights(self, weights)

    def _shown_arguments(self):
        held = super()._shown_arguments()
        held.pop("sparse_updates", None)
        return {{"learning_rate": "lr"}.get(key, key): held[key] for key in held}

    def get_config(self) -> Config:
        """Returns the arguments that rebuild this optimizer, without its state."""
        config = super().get_config()
        kept = ("clipnorm", "clipvalue", "decay", "epsilon", "name", "rho")
        return {
            "lr": config["learning_rate"],
            **{key: config[key] for key in kept if key in config},
        }

    @classmethod
    def from_config(
        cls, config: Config, custom_objects: dict[str, Any] | None = None
    ) -> "Self":
        """Returns a new optimizer.

        Args:
            config: Dictionary, as `get_config` returns it.
            custom_objects: Not used; Keras 3 passes it.
        """
        return cls(**config)


def __dir__():
    return list(__all__)


def _dense(gradient, variable):
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return tf.math.unsorted_segment_sum(
        gradient.values, gradient.indices, variable.shape[0]
    )


def _updates_arguments(args, kwargs):
    """Returns loss, variables and constraints, in whichever order they were given."""
    if len(args) + len(kwargs) == 2:
        names = ("loss", "params")
    else:
        names = ("params", "constraints", "loss")
    given = dict(zip(names, args))
    if (
        len(given) < len(args)
        or {*given, *kwargs} != set(names)
        or given.keys() & kwargs
    ):
        raise TypeError(
            "`get_updates` takes `loss, params` or `params, constraints, loss`. "
            f"Received: {len(args)} positional arguments and {sorted(kwargs)}"
        )
    given.update(kwargs)
    constraints = {
        _reference(variable): constraint
        for variable, constraint in dict(given.get("constraints") or {}).items()
    }
    return given["loss"], tf.nest.flatten(given["params"]), constraints


def _reference(variable):
    return variable.ref() if isinstance(variable, tf.Variable) else variable
