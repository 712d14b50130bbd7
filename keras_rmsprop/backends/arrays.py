"""The way of a step where gradients and variables are arrays of any library.

JAX and PyTorch share all of it but how arrays are updated, and what a sparse gradient
is. Keras takes the steps around the update, as it does for its own optimizers.
"""

import functools
import operator
import warnings

import keras
import ml_dtypes
import numpy as np

from keras_rmsprop.annotations import Gradients, Variables
from keras_rmsprop.backends import common
from keras_rmsprop.core import Hyperparameters, Slots, formula


class Step(common.Step):
    """How `keras_rmsprop.RMSprop` takes a step.

    Subclasses have `_update_dense` and `_update_rows`, and what they know of sparse
    gradients.
    """

    def apply(
        self, grads: Gradients, trainable_variables: Variables | None = None
    ) -> None:
        """Applies one step.

        Args:
            grads: List with a gradient for each variable: an array of the variable's
                shape, sparse or not, or None to leave the variable alone.
            trainable_variables: List of the variables, in the same order.
                Defaults to those that the optimizer was built with.

        Raises:
            TypeError: If `trainable_variables` is no list of variables.
            ValueError: If gradients and variables do not fit, before any of
                them changes.
        """
        grads = list(grads)
        if grads:
            super().apply(*self._ready(grads, trainable_variables))

    def _ready(self, grads, variables):
        """Returns gradients and variables, all fit for a step."""
        variables = self._variables_for(grads, variables)
        known = self.built and self._covers(variables)
        if not known:
            self._check_variables(grads, variables)
            for variable in variables:
                self._check_trainable(variable)
        grads = [
            gradient
            if gradient is None
            or self._fits_as_it_is(gradient, variable)
            or self._overwrite_variable_with_gradient(variable)
            else self._checked_gradient(gradient, variable)
            for gradient, variable in zip(grads, variables)
        ]
        if not known:
            self._take_on(variables)
        return grads, variables

    def _covers(self, variables):
        """Whether these are exactly the optimizer's variables, in their order."""
        held = self._trainable_variables
        return len(variables) == len(held) and all(map(operator.is_, variables, held))

    def _fits_as_it_is(self, gradient, variable):
        """Whether nothing about this gradient has to be checked."""
        return False

    def _checked_gradient(self, gradient, variable):
        sparse = self._is_sparse(gradient)
        if not sparse:
            gradient = keras.ops.convert_to_tensor(gradient)
        if tuple(gradient.shape) != tuple(variable.shape):
            raise ValueError(
                f"The gradient of variable {variable.path!r} must have the "
                f"variable's shape {tuple(variable.shape)}. "
                f"Received: a gradient of shape {tuple(gradient.shape)}"
            )
        found, wanted = map(
            keras.backend.standardize_dtype, (gradient.dtype, variable.dtype)
        )
        if _kind(found) != _kind(wanted):
            raise ValueError(
                f"The gradient of variable {variable.path!r} must be "
                f"{_kind(wanted)}, as the variable is ({wanted}). "
                f"Received: a gradient of dtype {found}"
            )
        if sparse:
            if self.sparse_updates == "dense" or self.gradient_accumulation_steps:
                return self._checked_gradient(self._densified(gradient), variable)
            if not self._names_rows(gradient):
                raise ValueError(
                    f"The sparse gradient of variable {variable.path!r} must name "
                    "rows, by indices into its first dimension alone, to update only "
                    "those (sparse_updates='lazy'). Received: indices into more "
                    "dimensions, or none. sparse_updates='dense' takes any."
                )
        if found == wanted:
            return gradient
        return self._map_values(lambda g: keras.ops.cast(g, wanted), gradient)

    def _check_trainable(self, variable):
        if not isinstance(variable, keras.Variable):
            raise ValueError(
                "`variables` must be `keras.Variable`s under Keras' "
                f"{keras.backend.backend()} backend. "
                f"Received: one of type {type(variable).__name__}"
            )

    def _look_up(self):
        held = self._velocities, self._average_gradients, self._momentums
        self._slots = {
            id(variable): Slots(*(each[index] if each else None for each in held))
            for index, variable in enumerate(self._trainable_variables)
        }
        # A lazily updated table is what the default promises, and what TensorFlow
        # gives; it needs a gradient that names rows.
        tables = [v.path for v in self._trainable_variables if v.name == "embeddings"]
        if tables and self.sparse_updates == "lazy":
            warnings.warn(
                f"Every row of {', '.join(tables)} will decay in each step, also those "
                "that a batch does not name: under Keras' "
                f"{keras.backend.backend()} backend the gradient of an Embedding is "
                "dense, so that sparse_updates='lazy' has nothing to leave out. "
                "Construct the optimizer with sparse_updates='dense' if that is what "
                "you want.",
                stacklevel=4,
            )

    # From here on: Keras' own steps between `apply` and `update_step`, private but
    # unchanged since Keras 3.10.

    def _backend_apply_gradients(self, grads, trainable_variables):
        # Keras 2 averages only what has a gradient, Keras 3 takes all for averaged.
        resting = []
        if self.use_ema and self.update_rule.average_start == "variable":
            stepped = set(map(id, trainable_variables))
            resting = [
                (held, keras.ops.copy(held.value))
                for pair in self._with_averages(self._trainable_variables)
                if id(pair[0]) not in stepped
                for held in pair
            ]
        super()._backend_apply_gradients(grads, trainable_variables)
        for held, value in resting:
            held.assign(value)

    def _clip_gradients(self, grads):
        if not (self.clipnorm or self.global_clipnorm or self.clipvalue):
            return grads
        if self.update_rule.clips_slices == "summed":
            # Only sums of duplicates have the gradient's norm.
            grads = list(map(self._summed, grads))
        values = super()._clip_gradients(list(map(self._values, grads)))
        return [
            self._map_values(lambda _, v=value: v, gradient)
            for gradient, value in zip(grads, values)
        ]

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if type(self).update_step is common.Step.update_step:
            self._update(grads, trainable_variables, learning_rate)
        else:
            for gradient, variable in zip(grads, trainable_variables):
                self.update_step(gradient, variable, learning_rate)

    def _update(self, grads, variables, learning_rate):
        rate = self._as_array(learning_rate)
        rule, numbers = self.update_rule, (self.rho, self.momentum, self.epsilon)
        dense = []
        for gradient, variable in zip(grads, variables):
            update = gradient, variable, self._slots[id(variable)]
            if self._is_sparse(gradient):
                self._update_rows(rule, numbers, rate, *update)
            else:
                dense.append(update)
        if dense:
            self._update_dense(rule, numbers, rate, *zip(*dense))

    _as_array = staticmethod(keras.ops.convert_to_tensor)

    def _map_values(self, function, gradient):
        """Applies a function to a dense gradient, or to the values of a sparse one."""
        if not self._is_sparse(gradient):
            return function(gradient)
        return self._with_values(gradient, function(self._values(gradient)))


@functools.lru_cache
def scalars(rule, rho, momentum, epsilon, dtype):
    """Returns hyperparameters as Python numbers, rounded once to a dtype.

    Args:
        rule: An `UpdateRule`.
        rho: Float.
        momentum: Float.
        epsilon: Float.
        dtype: Name of the dtype of the variables.

    Returns:
        `Hyperparameters` without a learning rate, and whether epsilon counts as above
        zero in that dtype: not where hardware may flush it.
    """
    real = np.dtype({"complex64": "float32", "complex128": "float64"}.get(dtype, dtype))
    values = rule.round_hyperparameters(rho=rho, momentum=momentum, epsilon=epsilon)
    if not rule.uses_kernels:
        values["one_minus_rho"] = 1 - rho
    rounded = {name: float(np.asarray(value, real)) for name, value in values.items()}
    has_epsilon = rounded["epsilon"] >= float(ml_dtypes.finfo(real).smallest_normal)
    return Hyperparameters(learning_rate=None, **rounded), has_epsilon


def rounding(rule, slots):
    """Returns the `Rounding` of a rule."""
    return formula.rounding_of(rule, slots.momentum is not None, formula.DENSE_KERNEL)


def _kind(dtype):
    return (
        "complex"
        if dtype.startswith("complex")
        else ("floating" if dtype.startswith(("float", "bfloat")) else "another")
    )
