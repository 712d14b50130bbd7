"""How far two trajectories are apart: per step, per variable, in ULP."""

import dataclasses

import numpy as np

# (rtol, atol) by default. Training feeds rounding back, so these are wider than a
# single step would need.
TOLERANCES = {
    "float64": (1e-7, 1e-9),
    "float32": (1e-4, 1e-5),
    "float16": (1e-2, 1e-2),
    "bfloat16": (5e-2, 5e-2),
}


@dataclasses.dataclass(frozen=True)
class StepFigures:
    """How far two runs were apart after one step.

    Attributes:
        step: Number of the step, from 1.
        max_abs_difference: Greatest absolute difference of any element.
        max_ulp: Greatest number of representable values between two elements.
        mismatched: Number of elements outside the tolerance.
        reference_loss: Loss of the reference on the step's batch, before it; None
            where a recording does not hold it.
        candidate_loss: The same of the candidate; None where it took a recording's
            gradients.
    """

    step: int
    max_abs_difference: float
    max_ulp: int
    mismatched: int
    reference_loss: float | None
    candidate_loss: float | None


@dataclasses.dataclass
class VariableFigures:
    """How far two runs came apart in one variable, over all steps.

    Attributes:
        name: Path of the variable.
        shape: Tuple of integers.
        mismatched: Number of elements outside the tolerance at any step.
        max_abs_difference: Greatest absolute difference.
        max_abs_index: Index of that element.
        max_abs_step: Step of that difference, from 1; None where there is none.
        max_rel_difference: Greatest difference relative to the reference.
        max_rel_index: Index of that element.
        max_rel_step: Step of that difference.
        max_ulp: Greatest number of representable values between.
    """

    name: str
    shape: tuple
    mismatched: int = 0
    max_abs_difference: float = 0.0
    max_abs_index: tuple = ()
    max_abs_step: int | None = None
    max_rel_difference: float = 0.0
    max_rel_index: tuple = ()
    max_rel_step: int | None = None
    max_ulp: int = 0

    @property
    def elements(self):
        """Number of elements of the variable."""
        return int(np.prod(self.shape, dtype=np.int64))


class Differences:
    """Collects how far two runs are apart, step by step.

    Args:
        names: List of variable names.
        start: List of arrays, for the shapes.
        rtol: Relative tolerance.
        atol: Absolute tolerance: elements match where
            `|candidate - reference| <= atol + rtol * |reference|`.
    """

    def __init__(self, names, start, rtol, atol):
        self.variables = [
            VariableFigures(name, value.shape) for name, value in zip(names, start)
        ]
        self.steps = []
        self._count = 0
        # Steps without values since the last that had some.
        self.unjudged = 0
        self._ever = [np.zeros(value.shape, bool) for value in start]
        self._rtol, self._atol = rtol, atol

    @property
    def max_abs_difference(self):
        """Greatest absolute difference so far."""
        return max((s.max_abs_difference for s in self.steps), default=0.0)

    @property
    def max_ulp(self):
        """Greatest number of representable values between two elements so far."""
        return max((s.max_ulp for s in self.steps), default=0)

    @property
    def equivalent(self):
        """Whether no element was ever outside the tolerance."""
        return not any(step.mismatched for step in self.steps)

    def add(self, reference, candidate):
        """Adds the next `Step` of both runs; only counts one without values."""
        self._count += 1
        number = self._count
        if reference.values is None or candidate.values is None:
            self.unjudged += 1
            return
        self.unjudged = 0
        greatest, most_ulp, mismatched = 0.0, 0, 0
        for figures, ever, expected, actual in zip(
            self.variables, self._ever, reference.values, candidate.values
        ):
            if same_bits(expected, actual):
                continue
            difference = absolute_difference(expected, actual)
            with np.errstate(all="ignore"):
                magnitude = np.abs(expected.astype(np.float64))
                outside = ~(difference <= self._atol + self._rtol * magnitude)
                relative = np.where(difference > 0, difference / magnitude, 0.0)
            relative[np.isnan(relative)] = np.inf
            ulp = int(np.max(ulp_distance(expected, actual), initial=0))
            ever |= outside
            figures.mismatched = int(ever.sum())
            figures.max_ulp = max(figures.max_ulp, ulp)
            _keep_greatest(figures, "max_abs", difference, number)
            _keep_greatest(figures, "max_rel", relative, number)
            greatest = max(greatest, float(np.max(difference, initial=0)))
            most_ulp = max(most_ulp, ulp)
            mismatched += int(outside.sum())
        self.steps.append(
            StepFigures(
                number, greatest, most_ulp, mismatched, reference.loss, candidate.loss
            )
        )


def _keep_greatest(figures, kind, values, step):
    place = np.unravel_index(np.argmax(values), values.shape)
    if values[place] > getattr(figures, f"{kind}_difference"):
        setattr(figures, f"{kind}_difference", float(values[place]))
        setattr(figures, f"{kind}_index", tuple(map(int, place)))
        setattr(figures, f"{kind}_step", step)


def same_bits(a, b):
    """Whether two arrays hold the same bits."""
    return a.tobytes() == b.tobytes()


def absolute_difference(a, b):
    """Returns `|a - b|` in float64: 0 where both are the same non-finite value.

    Where only one is finite, or they are not finite in different ways, the
    difference is infinite.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    with np.errstate(all="ignore"):
        difference = np.abs(a - b)
    difference[np.isnan(difference)] = np.inf
    difference[(a == b) | (np.isnan(a) & np.isnan(b))] = 0.0
    return difference


def ulp_distance(a, b):
    """Returns how many representable values lie between the elements of two arrays.

    Example:

    >>> a = np.array([1.0, 0.0, -0.0], np.float32)
    >>> b = np.nextafter(a, np.float32(2))
    >>> ulp_distance(a, b).tolist()
    [1, 1, 1]
    """
    return np.where(
        absolute_difference(a, b) > 0, _apart(_ordered(a), _ordered(b)), np.uint64(0)
    )


def _ordered(values):
    """Returns floats as unsigned integers in the same order, one for both zeros."""
    bits = values.dtype.itemsize * 8
    pattern = values.view(f"uint{bits}").astype(np.uint64)
    half = np.uint64(1 << (bits - 1))
    return np.where(pattern >= half, half - (pattern - half), half + pattern)


def _apart(a, b):
    return np.where(a > b, a - b, b - a)
