"""RMSProp's step: one formula, in each rounding that shipped.

It is written over a few array operations, so that any library can compute it, and
knows no variables. The same with explanations for people: `reference`.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import NamedTuple


def update(ops, rounding, slots, gradient, hyper, has_epsilon, variable=None):
    """Returns the values that one step gives the slots and the variable.

    Args:
        ops: `Operations` of the library whose arrays these are.
        rounding: A `Rounding`.
        slots: `Slots` of arrays, the state before the step.
        gradient: Array of the slots' shape and dtype.
        hyper: `Hyperparameters` in that dtype.
        has_epsilon: Whether `epsilon` is known to be above zero.
        variable: Array from which the step is subtracted, or None.

    Returns:
        `Slots` of arrays, and the new variable; without one, the array to subtract.
    """
    gradient, ms, mg, radicand, rests = _moments(
        ops, rounding, slots, gradient, hyper, has_epsilon
    )
    new = slots._replace(rms=ms, mg=mg)
    move = functools.partial(_plus_step, ops, rounding, gradient, radicand, rests)
    if slots.momentum is None and variable is None:
        return new, move(None, hyper)
    if slots.momentum is None:
        return new, move(variable, hyper._replace(learning_rate=-hyper.learning_rate))
    momentum = move(ops.times(slots.momentum, hyper.momentum), hyper)
    step = momentum if variable is None else ops.minus(variable, momentum)
    return new._replace(momentum=momentum), step


def update_by_one(ops, rounding, slots, gradient, hyper, has_epsilon, variable, after):
    """Does the same in programs that write one array at a time.

    Such is XLA's work on CPUs: cheap operations are computed again for each array that
    needs them. Every new mean of a centered step depends on both former ones, which are
    therefore copied before one of them is overwritten; that takes longer than all the
    rest. Written in the order momentum, variable, `rms`, `mg`, each array takes the
    place of one that is not read again.

    Where the variance is within rounding of zero, a compiler may round it otherwise for
    each array. What rests is then decided apart for each; all stay finite.

    Args:
        after: Takes two arrays; returns the first, such that a compiler computes what
            becomes of it after the second.

    Other arguments, and what is returned, are those of `update`; it needs a variable.
    """
    new, variable = update(ops, rounding, slots, gradient, hyper, has_epsilon, variable)
    if new.mg is None:
        return new, variable

    def moments_after(array, ms=None):
        later = slots.map(lambda slot: after(slot, array)), after(gradient, array)
        return _moments(ops, rounding, *later, hyper, has_epsilon, ms)

    ms = moments_after(variable)[1]
    mg = moments_after(ms, ms)[2]
    return new._replace(rms=ms, mg=mg), variable


@dataclasses.dataclass(frozen=True)
class Operations:
    """What the formula asks of an array library, beside arithmetic.

    Some may write into their first argument, which is not looked at again: `sqrt` and
    `plus_number` where they are told that it is spent, `discounted` and `toward` where
    `overwrites`; `plus_square`, `times`, `plus`, `minus` and `plus_quotient` always.

    Attributes:
        square: Takes an array.
        plus_square: Takes an array, another and a factor; returns
            `array + factor * square(other)`.
        minus_square: Takes two arrays; returns `array - square(other)`.
        sqrt: Takes an array, and whether it is spent.
        rsqrt: Takes an array, returns the reciprocal of its root.
        where: Takes a condition and two arrays.
        zeros_like: Takes an array.
        clip: Takes an array and two numbers.
        isfinite: Takes an array.
        greatest: Takes an array; returns the greatest number of its dtype, or None
            for a complex one.
        least: Takes a real array; returns its least element, NaN if one is, or None
            where that cannot be known now.
        magnitude: Likewise, a number that no element is farther from zero than.
        times: Takes an array and a number.
        plus_number: Takes an array, a number, and whether the array is spent.
        discounted: Takes a mean and a number; returns their product.
        plus: Takes an array, another and its factor; returns `array + factor * other`.
        toward: Likewise, `array + (other - array) * factor`.
        minus: Takes two arrays.
        plus_quotient: Takes an array, a number and two arrays; returns
            `array + number * one / other`.
        overwrites: Whether `discounted` and `toward` write into their first argument.
    """

    square: Callable
    plus_square: Callable
    minus_square: Callable
    sqrt: Callable
    rsqrt: Callable
    where: Callable
    zeros_like: Callable
    clip: Callable
    isfinite: Callable
    greatest: Callable
    least: Callable = lambda array: None
    magnitude: Callable = lambda array: None
    times: Callable = lambda array, number: number * array
    plus_number: Callable = lambda array, number, spent: array + number
    discounted: Callable = lambda array, number: number * array
    plus: Callable = lambda array, other, factor: array + factor * other
    toward: Callable = lambda array, other, factor: array + (other - array) * factor
    minus: Callable = operator.sub
    plus_quotient: Callable = lambda array, rate, one, root: array + rate * one / root
    overwrites: bool = False


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
    if not may_rest(ops, slots, gradient, has_epsilon):
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
    if not may_rest(ops, slots, gradient, has_epsilon):
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
    magnitude = ops.magnitude(gradient)
    if magnitude is not None and magnitude <= limit:
        return gradient
    clipped = ops.clip(gradient, -limit, limit)
    return ops.where(ops.isfinite(gradient), clipped, gradient)


_FAR_BEYOND_FLOAT16 = 1e6


def _moments(ops, rounding, slots, gradient, hyper, has_epsilon, ms=None):
    """Returns the clipped gradient, both new means, the radicand, and what rests.

    The mean of squares may be given, where it is new already. An element that rests is
    known by that, too: it only fell.
    """
    gradient = _clipped(ops, rounding, slots, gradient)
    means = _means(ops, rounding, slots, gradient, hyper)
    ms, mg = means if ms is None else (ms, means[1])
    radicand = _radicand(ops, rounding, ms, mg, hyper)
    rests = None
    if may_rest(ops, slots, gradient, has_epsilon) and not _has_root(
        ops, rounding, radicand, has_epsilon
    ):
        rests = _lacks_root(ops, rounding, radicand, hyper)
        if mg is not None and _is_real(ops, gradient):
            if ops.overwrites:  # The former means are gone, up to rounding.
                share = one_minus_rho(hyper)
                decayed = ms - share * ops.square(gradient), mg - share * gradient
            else:
                decayed = (
                    _decayed(rounding, mean, hyper) for mean in (slots.rms, slots.mg)
                )
            ms, mg = (ops.where(rests, *pair) for pair in zip(decayed, (ms, mg)))
    return gradient, ms, mg, radicand, rests


def _means(ops, rounding, slots, gradient, hyper):
    """Returns the discounted means, of squares and of gradients, after this one."""
    share = one_minus_rho(hyper)

    if rounding.incremental:
        ms = ops.toward(slots.rms, ops.square(gradient), share)
        mg = None if slots.mg is None else ops.toward(slots.mg, gradient, share)
        return ms, mg
    ms = ops.plus_square(ops.discounted(slots.rms, hyper.rho), gradient, share)
    if slots.mg is None:
        return ms, None
    return ms, ops.plus(ops.discounted(slots.mg, hyper.rho), gradient, share)


def _decayed(rounding, mean, hyper):
    """Returns a discounted mean after a gradient of zero."""
    if rounding.incremental:
        return mean - mean * one_minus_rho(hyper)
    return hyper.rho * mean


def _radicand(ops, rounding, ms, mg, hyper):
    """Returns what the root is taken of: the variance, with `epsilon` if inside."""
    if not rounding.epsilon_inside:
        return ms if mg is None else ops.minus_square(ms, mg)
    if mg is None:
        return ops.plus_number(ms, hyper.epsilon, False)
    if rounding.epsilon_first:
        return ops.minus_square(ops.plus_number(ms, hyper.epsilon, False), mg)
    return ops.plus_number(ops.minus_square(ms, mg), hyper.epsilon, True)


def _plus_step(ops, rounding, gradient, radicand, rests, array, hyper):
    """Returns an array, or none, plus the step before momentum."""
    if array is not None and rests is None and rounding.quotient == "divided":
        # With `epsilon` outside of the root, the radicand can be the mean itself.
        spent = rounding.epsilon_inside
        divisor = _divisor(ops, rounding, radicand, hyper, spent)
        return ops.plus_quotient(array, hyper.learning_rate, gradient, divisor)
    step = _quotient(ops, rounding, gradient, radicand, hyper)
    if rests is not None:
        step = ops.where(rests, ops.zeros_like(step), step)
    return step if array is None else array + step


def _quotient(ops, rounding, gradient, radicand, hyper):
    """Returns the gradient times the rate, divided by the root."""
    if rounding.quotient == "first":
        return ops.rsqrt(radicand) * hyper.learning_rate * gradient
    if rounding.quotient == "last":
        return hyper.learning_rate * gradient * ops.rsqrt(radicand)
    if rounding.quotient == "grouped":
        return gradient * (hyper.learning_rate * ops.rsqrt(radicand))
    return hyper.learning_rate * gradient / _divisor(ops, rounding, radicand, hyper)


def _divisor(ops, rounding, radicand, hyper, spent=False):
    """Returns what the gradient is divided by; may write into a spent radicand."""
    root = ops.sqrt(radicand, spent)
    return (
        root if rounding.epsilon_inside else ops.plus_number(root, hyper.epsilon, True)
    )


def may_rest(ops, slots, gradient, has_epsilon):
    """Whether elements can be without a denominator, which then stand still."""
    return not has_epsilon or (slots.mg is not None and _is_real(ops, gradient))


def _has_root(ops, rounding, radicand, has_epsilon):
    """Whether all of it is known to have a root that can be divided by."""
    least = ops.least(radicand) if _is_real(ops, radicand) else None
    if least is None:
        return False
    return least > 0 or (least == 0 and has_epsilon and not rounding.epsilon_inside)


def _lacks_root(ops, rounding, radicand, hyper):
    """Returns where nothing can be divided by; not where a gradient was NaN."""
    if not _is_real(ops, radicand):
        # No `==`: in graphs of TF1 it asks whether these are the same tensor.
        return abs(_divisor(ops, rounding, radicand, hyper)) <= 0
    if rounding.epsilon_inside:
        return radicand <= 0
    return (radicand < 0) | (_divisor(ops, rounding, radicand, hyper) <= 0)
