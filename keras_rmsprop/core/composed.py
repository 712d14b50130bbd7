"""The update in ordinary ops: one formula, in each rounding that shipped.

Dense and sparse kernels, Keras 3, Keras 2 and OptimizerV2 compute the same step in
different orders, so their last bits differ. A `Rounding` reproduces one of them.
"""

from typing import NamedTuple

import tensorflow as tf

from keras_rmsprop.core.sparse import is_compiled


class Rounding(NamedTuple):
    """How one shipped implementation writes the formula down.

    Attributes:
        incremental: `mean + (x - mean) * (1 - rho)` where true,
            `rho * mean + (1 - rho) * x` otherwise.
        epsilon_inside: `sqrt(variance + epsilon)` where true,
            `sqrt(variance) + epsilon` otherwise.
        epsilon_first: Adds `epsilon` before it subtracts the squared mean.
        quotient: In which order step and root meet. `"divided"`:
            `rate * gradient / root`. `"last"`: `rate * gradient * (1 / root)`.
            `"first"`: `(1 / root) * rate * gradient`. `"grouped"`:
            `gradient * (rate * (1 / root))`.
    """

    incremental: bool = False
    epsilon_inside: bool = True
    epsilon_first: bool = False
    quotient: str = "divided"


DENSE_KERNEL = Rounding(incremental=True)
# These kernels take the root one way in vectorized columns and another in the rest,
# so ordinary ops equal them only up to its last bit.
SPARSE_KERNEL = Rounding(epsilon_first=True, quotient="first")
KERAS = Rounding()
KERAS2 = Rounding(quotient="last")
# What TensorFlow's graph optimizer makes of that where it does not know the number of
# rows. It does so to ours, too, but for the guard of centered steps.
KERAS2_CENTERED_SLICES_IN_GRAPH = Rounding(quotient="grouped")
LEGACY = Rounding(epsilon_inside=False)


def update(rounding, slots, gradient, hyper):
    """Returns the values that one step gives the slots, and what it subtracts.

    Args:
        rounding: A `Rounding`.
        slots: `Slots` of tensors, the state before the step.
        gradient: Tensor of the slots' shape and dtype.
        hyper: `Hyperparameters` in that dtype.

    Returns:
        `Slots` of tensors, and the tensor to subtract from the variable.
    """
    centered = slots.mg is not None and gradient.dtype.is_floating
    gradient = _clipped(rounding, gradient, slots.mg is not None)
    ms, mg = _means(rounding, slots, gradient, hyper)
    radicand = _radicand(rounding, ms, mg, hyper)
    if centered and is_compiled():
        radicand = _computed_once(radicand, hyper)
    step = _quotient(rounding, gradient, radicand, hyper)
    if _may_lack_root(centered, gradient.dtype, hyper):
        # As `counted` would have it, computed once.
        unusable = _has_no_root(rounding, radicand, hyper)
        step = tf.where(unusable, tf.zeros_like(step), step)
    if centered:
        ms = tf.where(unusable, _decayed(rounding, slots.rms, hyper), ms)
        mg = tf.where(unusable, _decayed(rounding, slots.mg, hyper), mg)
    if slots.momentum is None:
        return slots._replace(rms=ms, mg=mg), step
    step = hyper.momentum * slots.momentum + step
    return slots._replace(rms=ms, mg=mg, momentum=step), step


def increment(rounding, ms, mg, gradient, hyper):
    """Returns the step before momentum, given the means after this gradient."""
    radicand = _radicand(rounding, ms, mg, hyper)
    step = _quotient(rounding, gradient, radicand, hyper)
    if not _may_lack_root(mg is not None, gradient.dtype, hyper):
        return step
    # Means that hardly decay (`rho` within rounding of 1) can stay without a
    # variance whatever `counted` does; such an element stands still.
    unusable = _has_no_root(rounding, radicand, hyper)
    return tf.where(unusable, tf.zeros_like(step), step)


def counted(rounding, slots, gradient, hyper):
    """Returns the gradient as the step counts it, so that steps stay finite.

    With nearly constant gradients the variance `ms - mg**2` rounds below zero,
    and every shipped centered version then takes the root of a negative number.
    An element without a positive denominator counts as having no gradient in
    this step: its means decay, which gives it a variance again. So does one whose
    means are zero, where `epsilon` is, too. Gradients whose
    square overflows are clipped where the variance, or float16, would turn them
    into NaN. Every other element is left as it is, so results are those of the
    shipped optimizers wherever theirs stay finite.

    Args:
        rounding: A `Rounding`.
        slots: `Slots` of tensors or variables, the state before the step.
        gradient: Tensor of the slots' shape and dtype.
        hyper: `Hyperparameters` in that dtype.

    Returns:
        A tensor like `gradient`, and where it was set to zero, or None.
    """
    centered = slots.mg is not None
    gradient = _clipped(rounding, gradient, centered)
    if not _may_lack_root(centered, gradient.dtype, hyper):
        return gradient, None
    ms, mg = _means(rounding, slots, gradient, hyper)
    radicand = _radicand(rounding, ms, mg, hyper)
    unusable = _has_no_root(rounding, radicand, hyper)
    return tf.where(unusable, tf.zeros_like(gradient), gradient), unusable


def _clipped(rounding, gradient, centered):
    overflows = rounding.incremental and gradient.dtype == tf.float16
    if not gradient.dtype.is_floating or not (centered or overflows):
        return gradient
    # Short of sqrt(max), because that, and means of its square, may be rounded up.
    limit = 0.99 * float(gradient.dtype.max) ** 0.5
    clipped = tf.clip_by_value(gradient, -limit, limit)
    return tf.where(tf.math.is_finite(gradient), clipped, gradient)


def _computed_once(radicand, hyper):
    """Returns the radicand, such that XLA computes it once, before what it is for.

    Every new mean depends on all old ones by way of it. XLA would repeat that, in
    the update of each, and therefore copy the old means first, but it repeats no
    division: this one is by 1, which XLA cannot know.
    """
    rate = hyper.learning_rate
    one = tf.where(tf.math.is_nan(rate), 2 * tf.ones_like(rate), tf.ones_like(rate))
    return radicand / one


def has_epsilon(hyper):
    """Whether `epsilon` is known to be above zero, also where its dtype rounds it."""
    value = tf.get_static_value(hyper.epsilon)
    return value is not None and value != 0


def one_minus_rho(hyper):
    """Returns the share of the new gradient in the means."""
    return 1 - hyper.rho if hyper.one_minus_rho is None else hyper.one_minus_rho


def _means(rounding, slots, gradient, hyper):
    """Returns the discounted means, of squares and of gradients, after this one."""
    complement = one_minus_rho(hyper)

    def discounted(mean, x):
        if rounding.incremental:
            return mean + (x - mean) * complement
        return _decayed(rounding, mean, hyper) + complement * x

    ms = discounted(slots.rms, tf.square(gradient))
    mg = None if slots.mg is None else discounted(slots.mg, gradient)
    return ms, mg


def _decayed(rounding, mean, hyper):
    """Returns a discounted mean after a gradient of zero."""
    if rounding.incremental:
        return mean - mean * one_minus_rho(hyper)
    return hyper.rho * mean


def _radicand(rounding, ms, mg, hyper):
    """Returns what the root is taken of: the variance, with `epsilon` if inside."""
    if not rounding.epsilon_inside:
        return ms if mg is None else ms - tf.square(mg)
    if mg is None:
        return ms + hyper.epsilon
    if rounding.epsilon_first:
        return ms + hyper.epsilon - tf.square(mg)
    return ms - tf.square(mg) + hyper.epsilon


def _quotient(rounding, gradient, radicand, hyper):
    """Returns the gradient times the rate, divided by the root."""
    if rounding.quotient == "first":
        return tf.math.rsqrt(radicand) * hyper.learning_rate * gradient
    if rounding.quotient == "last":
        return hyper.learning_rate * gradient * tf.math.rsqrt(radicand)
    if rounding.quotient == "grouped":
        return gradient * (hyper.learning_rate * tf.math.rsqrt(radicand))
    return hyper.learning_rate * gradient / _divisor(rounding, radicand, hyper)


def _divisor(rounding, radicand, hyper):
    """Returns what the gradient is divided by."""
    root = tf.sqrt(radicand)
    return root if rounding.epsilon_inside else root + hyper.epsilon


def _may_lack_root(centered, dtype, hyper):
    """Whether an element can be without a denominator."""
    return (centered and dtype.is_floating) or not has_epsilon(hyper)


def _has_no_root(rounding, radicand, hyper):
    """Returns where nothing can be divided by; not where a gradient was NaN."""
    if radicand.dtype.is_complex:
        return tf.equal(_divisor(rounding, radicand, hyper), 0)
    if rounding.epsilon_inside:
        return radicand <= 0
    return (radicand < 0) | (_divisor(rounding, radicand, hyper) <= 0)
