"""What a step works with: a variable's slots, and hyperparameters."""

from itertools import compress
from typing import Any, NamedTuple


class Slots(NamedTuple):
    """What an optimizer keeps per variable, under the names of the TF1 slots.

    Attributes:
        rms: Discounted mean of squared gradients.
        mg: Discounted mean gradient; None where not centered.
        momentum: Accumulated steps; None where the rule keeps none.
    """

    rms: Any
    mg: Any = None
    momentum: Any = None

    def map(self, function):
        """Returns `Slots` with `function` applied to those that exist."""
        return Slots(*(None if slot is None else function(slot) for slot in self))

    def names(self):
        """Returns the names of those that exist."""
        return tuple(compress(self._fields, (slot is not None for slot in self)))


class Hyperparameters(NamedTuple):
    """The scalars of a step: Python numbers, or scalar tensors.

    Attributes:
        learning_rate: Step size.
        rho: Discount of both means.
        momentum: Discount of earlier steps.
        epsilon: What keeps the denominator from zero.
        one_minus_rho: `1 - rho` where it was rounded before the cast to the
            variable's dtype, as Keras 3 does; None to take it from the cast `rho`.
        least_epsilon: A number that `epsilon` is known not to be below.
    """

    learning_rate: Any
    rho: Any
    momentum: Any
    epsilon: Any
    one_minus_rho: Any = None
    least_epsilon: float = 0.0

    def cast(self, dtype):
        """Returns these as scalar tensors of one dtype, as the update takes them.

        Python numbers are rounded once, to `dtype`; tensors are cast from theirs.
        """

        import tensorflow as tf  # Not above: other backends have no need of it.

        def scalar(value):
            if isinstance(value, (int, float)):
                return tf.constant(value, dtype)
            return value if value is None else tf.cast(value, dtype)

        return self._with(scalar)

    def as_tensors(self):
        """Returns these as tensors, which a `tf.function` is not traced for anew."""

        import tensorflow as tf

        def tensor(value):
            if isinstance(value, (int, float)):
                return tf.constant(value, tf.float64)
            return value if value is None else tf.convert_to_tensor(value)

        tensors = self._with(tensor)
        # These few, so that other values do not trace it anew. Float16 can tell the
        # first from zero, and all other dtypes the second.
        epsilon = tf.get_static_value(tensors.epsilon)
        bounds = () if epsilon is None else (1e-7, 1e-37)
        least = next((bound for bound in bounds if bound <= epsilon), 0.0)
        return tensors._replace(least_epsilon=least)

    def kind(self):
        """Returns what a graph depends on, of those that `as_tensors` returns."""
        dtypes = (None if value is None else value.dtype for value in self[:-1])
        return self.least_epsilon, *dtypes

    def _with(self, function):
        return Hyperparameters(*map(function, self[:-1]), self.least_epsilon)

    def has_epsilon(self):
        """Whether `epsilon`, once cast, is known to be above zero."""
        import tensorflow as tf

        value = tf.get_static_value(self.epsilon)
        if value is None:
            value = self.epsilon.dtype.as_numpy_dtype(self.least_epsilon)
        return value != 0
