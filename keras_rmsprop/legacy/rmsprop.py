"""`RMSprop` as OptimizerV2 had it."""

import collections
import numbers
import warnings
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_rmsprop import core, mistakes
from keras_rmsprop.annotations import Config, Schedule
from keras_rmsprop.legacy.hyperparameters import (
    Hyperparameter,
    check_hyperparameter,
    serialized,
)
from keras_rmsprop.legacy.optimizer import Optimizer
from keras_rmsprop.update_rule import UpdateRule
from keras_rmsprop.validation import check_choice

_RULE = UpdateRule.get("legacy")


@keras.saving.register_keras_serializable(package="keras_rmsprop.legacy")
class RMSprop(Optimizer):
    """RMSProp with the API and the bits of `tf.keras.optimizers.legacy.RMSprop`.

    Noteworthy differences from `tf.keras.optimizers.legacy.RMSprop`:

    - Without momentum, sparse gradients (`tf.IndexedSlices`, as embeddings give)
      update only the rows they name, as documented; what shipped decayed every
      row. `sparse_updates="dense"` gives what shipped.
    - Centered steps stay finite where rounding makes the variance negative.
    - Setting `decay` during training takes effect.
    - Setting `momentum` above 0 on an optimizer that has slots but none for
      momentum is an error; it had no effect.

    With the discounted mean `ms` of squared gradients (and `mg` of gradients,
    zero unless centered) a step is

        ms = rho * ms + (1 - rho) * g**2
        variable -= learning_rate * g / (sqrt(ms - mg**2) + epsilon)    (momentum = 0)

        m = momentum * m + learning_rate * g / sqrt(ms - mg**2 + epsilon)
        variable -= m                                                   (momentum > 0)

    Args:
        learning_rate: Float (below 0 it ascends), scalar tensor, callable without
            arguments that returns one, or
            `keras.optimizers.schedules.LearningRateSchedule`. Defaults to 0.001.
        rho: Float in [0, 1], scalar tensor or callable: discount of the means.
            Defaults to 0.9.
        momentum: Float in [0, 1], scalar tensor or callable. Defaults to 0.0,
            which keeps no momentum slot.
        epsilon: Float >= 0, scalar tensor or callable, added for numerical
            stability. Defaults to 1e-7; 0 and None mean `keras.config.epsilon()`,
            as they always did here.
        centered: Whether to divide by the root of the variance of the gradient
            instead of its mean square, at the cost of one more slot. Defaults to
            False.
        name: Name scope of variables and operations. Defaults to `"RMSprop"`.
        sparse_updates: `"lazy"` leaves rows that the gradient does not name, and
            their slots, as they are. `"dense"` treats the gradient as dense, so
            that every row decays. Defaults to None: `"lazy"`, with a warning at the
            first sparse step where that is not what shipped.
        **kwargs: `clipnorm`, `clipvalue`, `global_clipnorm`, `decay`, `lr`,
            `gradient_aggregator`, `gradient_transformers`: see `Optimizer`.

    Raises:
        TypeError: If an argument is unknown.
        ValueError: If an argument is out of range.

    Example:

    >>> optimizer = RMSprop(learning_rate=0.1)
    >>> variable = tf.Variable(10.0)
    >>> loss = lambda: variable**2 / 2.0
    >>> steps = optimizer.minimize(loss, [variable])
    >>> print(f"{variable.numpy():.6f}")
    9.683772

    Source: Hinton, 2012, Neural Networks for Machine Learning, lecture 6e; the
    API is that of `tf.keras.optimizers.legacy.RMSprop` of TensorFlow 2.9.
    """

    _HAS_AGGREGATE_GRAD = True

    def __init__(
        self,
        learning_rate: Hyperparameter | Schedule = 0.001,
        rho: Hyperparameter = 0.9,
        momentum: Hyperparameter = 0.0,
        epsilon: Hyperparameter | None = 1e-7,
        centered: bool = False,
        name: str | None = "RMSprop",
        *,
        sparse_updates: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name, **kwargs)
        if epsilon is not None:
            check_hyperparameter("epsilon", epsilon)
        if mistakes.is_discount(self._initial_decay):
            warnings.warn(
                f"`decay={self._initial_decay!r}` divides the learning rate by 1 + "
                f"{self._initial_decay!r} * step here. TF1's `decay`, the discount of "
                "the means, is `rho`.",
                stacklevel=2,
            )
        self._momentum = _is_used(momentum)
        self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
        self._set_hyper("decay", self._initial_decay)
        self._set_hyper("rho", rho)
        self._set_hyper("momentum", momentum)
        missing = epsilon is None or isinstance(epsilon, numbers.Real) and epsilon == 0
        self.epsilon = keras.config.epsilon() if missing else epsilon
        self.centered = centered
        self._together = core.Together(self._use_locking)
        # None while nobody has chosen: `get_config` must not make it a choice.
        self._sparse_updates = None
        self._has_warned = False
        if sparse_updates is not None:
            self.sparse_updates = sparse_updates

    @property
    def sparse_updates(self) -> str:
        """`"lazy"` or `"dense"`."""
        return self._sparse_updates or "lazy"

    @sparse_updates.setter
    def sparse_updates(self, value: str) -> None:
        allowed = ("lazy", "dense")
        self._sparse_updates = check_choice("sparse_updates", value, allowed)

    def _set_hyper(self, name, value):
        check_hyperparameter(name, value)
        if isinstance(value, (numbers.Real, np.generic)):
            # An int would make a variable of integers of it.
            value = float(value)
        if name == "momentum" and _is_used(value) and not self._momentum:
            if self._slots:
                raise ValueError(
                    "`momentum` can only be set above 0 if the optimizer was made "
                    "so, because it has no momentum slots else. Received: "
                    f"momentum={value!r}. Make it with a small momentum instead."
                )
            self._momentum = True
        super()._set_hyper(name, value)

    def _lr_decay(self):
        return self._get_hyper("decay")

    def _create_slots(self, var_list):
        names = ["rms"] + ["momentum"] * self._momentum + ["mg"] * bool(self.centered)
        for name in names:
            for var in var_list:
                self.add_slot(var, name)

    def _prepare_local(self, var_device, var_dtype, apply_state):
        super()._prepare_local(var_device, var_dtype, apply_state)
        epsilon = self._call_if_callable(self.epsilon)
        if tf.is_tensor(epsilon):
            epsilon = tf.cast(epsilon, var_dtype)
        apply_state[(var_device, var_dtype)].update(
            epsilon=tf.convert_to_tensor(epsilon, var_dtype),
            rho=tf.identity(self._get_hyper("rho", var_dtype)),
            momentum=tf.identity(self._get_hyper("momentum", var_dtype)),
        )

    def _update_variables(self, grads_and_vars, apply_state):
        """Updates those together that eager steps take in less time so."""
        if not (
            tf.executing_eagerly()
            and type(self)._resource_apply_dense is RMSprop._resource_apply_dense
        ):
            return super()._update_variables(grads_and_vars, apply_state)
        together, others = {}, []
        times = collections.Counter(self._var_key(var) for _, var in grads_and_vars)
        for grad, var in grads_and_vars:
            if (
                isinstance(grad, tf.Tensor)
                and self._var_key(var) not in self._constraints
                and times[self._var_key(var)] == 1  # Else order matters.
                and self._together.takes(_RULE, var, self._momentum)
            ):
                together.setdefault((var.device, var.dtype), []).append((var, grad))
            else:
                others.append((grad, var))
        for held in together.values():
            variables, grads = zip(*held)
            hyper = self._hyperparameters(variables[0], apply_state)
            self._together.apply(_RULE, variables, self._slots_of, grads, hyper)
        return super()._update_variables(others, apply_state)

    def _resource_apply_dense(self, grad, var, apply_state=None):
        return core.apply_dense(
            _RULE,
            var,
            self._slots_of(var),
            grad,
            self._hyperparameters(var, apply_state),
            self._use_locking,
        )

    def _resource_apply_sparse(self, grad, var, indices, apply_state=None):
        self._warn_of_default()
        dense = self.sparse_updates == "dense"
        apply = core.apply_sparse_as_dense if dense else core.apply_sparse
        update = apply(
            _RULE,
            var,
            self._slots_of(var),
            grad,
            indices,
            self._hyperparameters(var, apply_state),
            self._use_locking,
            distinct=True,
        )
        return core.share_reads(var, update)

    def _warn_of_default(self):
        """Warns once where the default is what was documented, not what shipped."""
        if self._sparse_updates or self._momentum or self._has_warned:
            return
        self._has_warned = True
        warnings.warn(
            "Without momentum, OptimizerV2 decayed the mean squares of all rows in "
            "each sparse step. This optimizer leaves rows alone that no gradient "
            'names, as its documentation said. `RMSprop(sparse_updates="dense")` '
            'trains as what shipped did, `sparse_updates="lazy"` as now, without this '
            "warning.",
            stacklevel=2,
        )

    def _slots_of(self, var):
        return core.Slots(
            rms=self.get_slot(var, "rms"),
            mg=self.get_slot(var, "mg") if self.centered else None,
            momentum=self.get_slot(var, "momentum") if self._momentum else None,
        )

    def _hyperparameters(self, var, apply_state):
        key = (var.device, var.dtype.base_dtype)
        shared = (apply_state or {}).get(key) or self._fallback_apply_state(*key)
        return core.Hyperparameters(
            learning_rate=shared["lr_t"],
            rho=shared["rho"],
            momentum=shared["momentum"],
            epsilon=shared["epsilon"],
        )

    def _shown_arguments(self):
        held = super()._shown_arguments()
        if self.__dict__.get("_sparse_updates"):
            held["sparse_updates"] = self._sparse_updates
        return held

    def set_weights(self, weights: Iterable[Any]) -> None:
        """Sets the values of `weights`.

        Args:
            weights: List of arrays, as `get_weights` returns it, or without the
                leading step count, as optimizers had it until 2018; the step count
                is then set to 0.

        Raises:
            ValueError: If their number or a shape differs, before any is set.
        """
        weights = list(weights)
        if len(weights) + 1 == len(self.weights):
            weights = [np.array(0), *weights]
        super().set_weights(weights)

    def get_config(self) -> Config:
        """Returns the arguments that rebuild this optimizer, without its state."""
        config = super().get_config()
        for name in ("learning_rate", "decay", "rho", "momentum"):
            config[name] = self._serialize_hyperparameter(name)
        config["epsilon"] = serialized(self.epsilon)
        config["centered"] = self.centered
        if self._sparse_updates is not None:
            # Left out where it can be, so that `tf_keras` understands the rest.
            config["sparse_updates"] = self._sparse_updates
        return config


def _is_used(momentum):
    return tf.is_tensor(momentum) or callable(momentum) or momentum > 0
