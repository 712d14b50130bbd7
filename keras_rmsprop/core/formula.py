"""RMSProp's step: one formula, in each rounding that shipped.

It is written over a few array operations, so that any library can compute it, and
knows no variables. The same with explanations for people: `reference`.
"""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple


def update(ops, rounding, slots, gradient, hyper, has_epsilon):
    """Returns the values that one step gives the slots, and what it subtracts.

    Args:
        ops: `Operations` of the library whose arrays these are.
        rounding: A `Rounding`.
        slots: `Slots` of arrays, the state before the step.
        gradient: Array of the slots' shape and dtype.
        hyper: `Hyperparameters` in that dtype.
        has_epsilon: Whether `epsilon` is known to be above zero.

    Returns:
        `Slots` of arrays, and the array to subtract from the variable.
    """
    gradient = _clipped(ops, rounding, slots, gradient)
    ms, mg = _means(ops, rounding, slots, gradient, hyper)
    radicand = ops.computed_once(_radicand(ops, rounding, ms, mg, hyper), mg, hyper)
    step = _quotient(ops, rounding, gradient, radicand, hyper)
    if _may_lack_root(ops, slots, gradient, has_epsilon):
        rests = _lacks_root(ops, rounding, radicand, hyper)
        step = ops.where(rests, ops.zeros_like(step), step)
        if mg is not None and _is_real(ops, gradient):
            ms = ops.where(rests, _decayed(rounding, slots.rms, hyper), ms)
            mg = ops.where(rests, _decayed(rounding, slots.mg, hyper), mg)
    if slots.momentum is None:
        return slots._replace(rms=ms, mg=mg), step
    momentum = hyper.momentum * slots.momentum + step
    return slots._replace(rms=ms, mg=mg, momentum=momentum), momentum


@dataclasses.dataclass(frozen=True)
class Operations:
    """What the formula asks of an array library, beside arithmetic.

    Attributes:
        square: Takes an array.
        sqrt: Takes an array.
        rsqrt: Takes an array, returns the reciprocal of its root.
        where: Takes a condition and two arrays.
        zeros_like: Takes an array.
        clip: Takes an array and two numbers.
        isfinite: Takes an array.
        greatest: Takes an array; returns the greatest number of its dtype, or None
            for a complex one.
        computed_once: Takes an array, the mean gradient or None, and
            `Hyperparameters`; returns the array, such that a compiler does not
            compute it again wherever it is used.
    """

    square: Callable
    sqrt: Callable
    rsqrt: Callable
    where: Callable
    zeros_like: Callable
    clip: Callable
    isfinite: Callable
    greatest: Callable
    computed_once: Callable = lambda array, mg, hyper: array


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


def rounding_of(rule, has_momentum, kernel):
    """Returns the rounding of what a rule shipped with.

    Args:
        rule: An `UpdateRule`.
        has_momentum: Whether there is a slot for momentum.
        kernel: `DENSE_KERNEL` or `SPARSE_KERNEL`, for rules with a kernel's bits.
    """
    if not rule.has_epsilon_inside_sqrt(has_momentum):
        return LEGACY
    if rule.reciprocal_root:
        return KERAS2
    return kernel if rule.bitwise else KERAS


def increment(ops, rounding, slots, gradient, hyper, has_epsilon):
    """Returns the step before momentum, where slots have this gradient already."""
    radicand = _radicand(ops, rounding, slots.rms, slots.mg, hyper)
    step = _quotient(ops, rounding, gradient, radicand, hyper)
    if not _may_lack_root(ops, slots, gradient, has_epsilon):
        return step
    # Means that hardly decay (`rho` within rounding of 1) can stay without a
    # variance whatever `counted` does; such an element stands still.
    rests = _lacks_root(ops, rounding, radicand, hyper)
    return ops.where(rests, ops.zeros_like(step), step)


def counted(ops, rounding, slots, gradient, hyper, has_epsilon):
    """Returns the gradient as the step counts it, so that steps stay finite.

    With nearly constant gradients the variance `ms - mg**2` rounds below zero,
    and every shipped centered version then takes the root of a negative number.
    An element without a positive denominator counts as having no gradient in
    this step: its means decay, which gives it a variance again. So does one whose
    means are zero, where `epsilon` is, too. Gradients whose square overflows are
    clipped where the variance, or float16, would turn them into NaN. Every other
    element is left as it is, so results are those of the shipped optimizers wherever
    theirs stay finite.

    Arguments are those of `update`.

    Returns:
        An array like `gradient`, and where it was set to zero, or None.
    """
    gradient = _clipped(ops, rounding, slots, gradient)
    if not _may_lack_root(ops, slots, gradient, has_epsilon):
        return gradient, None
    ms, mg = _means(ops, rounding, slots, gradient, hyper)
    radicand = _radicand(ops, rounding, ms, mg, hyper)
    rests = _lacks_root(ops, rounding, radicand, hyper)
    return ops.where(rests, ops.zeros_like(gradient), gradient), rests


def one_minus_rho(hyper):
    """Returns the share of the new gradient in the means."""
    return 1 - hyper.rho if hyper.one_minus_rho is None else hyper.one_minus_rho


def _is_real(ops, array):
    return ops.greatest(array) is not None


def _clipped(ops, rounding, slots, gradient):
    greatest = ops.greatest(gradient)
    if greatest is None:
        return gradient
    overflows = rounding.incremental and greatest < _FAR_BEYOND_FLOAT16
    if slots.mg is None and not overflows:
        return gradient
    # Short of sqrt(max), because that, and means of its square, may be rounded up.
    limit = 0.99 * greatest**0.5
    clipped = ops.clip(gradient, -limit, limit)
    return ops.where(ops.isfinite(gradient), clipped, gradient)


_FAR_BEYOND_FLOAT16 = 1e6


def _means(ops, rounding, slots, gradient, hyper):
    """Returns the discounted means, of squares and of gradients, after this one."""
    share = one_minus_rho(hyper)

    def discounted(mean, x):
        if rounding.incremental:
            return mean + (x - mean) * share
        return _decayed(rounding, mean, hyper) + share * x

    ms = discounted(slots.rms, ops.square(gradient))
    mg = None if slots.mg is None else discounted(slots.mg, gradient)
    return ms, mg


def _decayed(rounding, mean, hyper):
    """Returns a discounted mean after a gradient of zero."""
    if rounding.incremental:
        return mean - mean * one_minus_rho(hyper)
    return hyper.rho * mean


def _radicand(ops, rounding, ms, mg, hyper):
    """Returns what the root is taken of: the variance, with `epsilon` if inside."""
    if not rounding.epsilon_inside:
        return ms if mg is None else ms - ops.square(mg)
    if mg is None:
        return ms + hyper.epsilon
    if rounding.epsilon_first:
        return ms + hyper.epsilon - ops.square(mg)
    return ms - ops.square(mg) + hyper.epsilon


def _quotient(ops, rounding, gradient, radicand, hyper):
    """Returns the gradient times the rate, divided by the root."""
    if rounding.quotient == "first":
        return ops.rsqrt(radicand) * hyper.learning_rate * gradient
    if rounding.quotient == "last":
        return hyper.learning_rate * gradient * ops.rsqrt(radicand)
    if rounding.quotient == "grouped":
        return gradient * (hyper.learning_rate * ops.rsqrt(radicand))
    return hyper.learning_rate * gradient / _divisor(ops, rounding, radicand, hyper)


def _divisor(ops, rounding, radicand, hyper):
    """Returns what the gradient is divided by."""
    root = ops.sqrt(radicand)
    return root if rounding.epsilon_inside else root + hyper.epsilon


def _may_lack_root(ops, slots, gradient, has_epsilon):
    """Whether an element can be without a denominator."""
    return not has_epsilon or (slots.mg is not None and _is_real(ops, gradient))


def _lacks_root(ops, rounding, radicand, hyper):
    """Returns where nothing can be divided by; not where a gradient was NaN."""
    if not _is_real(ops, radicand):
        return _divisor(ops, rounding, radicand, hyper) == 0
    if rounding.epsilon_inside:
        return radicand <= 0
    return (radicand < 0) | (_divisor(ops, rounding, radicand, hyper) <= 0)
