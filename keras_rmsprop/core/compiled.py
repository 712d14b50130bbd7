"""Steps compiled by XLA, for large variables.

The training kernels pass over memory three times and ordinary ops more often; what
XLA compiled passes once for each variable that it writes.
"""

import functools

import tensorflow as tf

from keras_rmsprop.core import execution, ordinary

# From how many elements on a variable is large: ordinary ops cost more than the
# launch of a program.
LARGE_ELEMENTS = 1 << 16
# From how many elements on, in all large variables, programs pay for compilation.
MINIMUM_ELEMENTS = 1 << 20


def apply_dense(rounding, variable, slots, gradient, hyper):
    """Applies one step by a program; arguments are those of `ordinary.apply_dense`."""
    step = program(rounding, variable.shape, variable.dtype, slots.names())
    with tf.device(variable.device):
        step(variable, slots, gradient, hyper)


@functools.cache
def program(rounding, shape, dtype, slots):
    """Returns a compiled step, one and the same for all variables of one kind.

    A program over all variables at once would save a few launches, and cost a
    compilation for every variable instead of every kind, at each of which XLA leaves
    megabytes behind.

    Args:
        rounding: A `Rounding`.
        shape: The variable's `tf.TensorShape`.
        dtype: The variable's `tf.DType`.
        slots: Names of the slots that there are.

    Returns:
        A `tf.function` of a variable, its `Slots`, gradient and hyperparameters.
    """

    @tf.function(jit_compile=True, autograph=False)
    def compiled(variable, slots, gradient, hyper):
        ordinary.apply_dense(rounding, variable, slots, gradient, hyper)

    return compiled


def pays(rule, variables):
    """Whether the large ones of these variables are worth a compilation."""
    large = [v.shape.num_elements() for v in variables if can_compile(rule, v)]
    return sum(large) >= MINIMUM_ELEMENTS and not execution.is_compiled()


def can_compile(rule, variable):
    """Whether a variable is large, and may be updated by a program.

    XLA's rounding is its own, so rules that promise the shipped bits do without, and
    so do half precision dtypes, in which it would show.
    """
    return (
        not rule.bitwise
        and variable.dtype in (tf.float32, tf.float64)
        and variable.shape.is_fully_defined()
        and variable.shape.num_elements() >= LARGE_ELEMENTS
    )
