"""What a comparison found, and how it tells it."""

import dataclasses
import json
import math

from keras_rmsprop.migration.comparison.attribution import ROUNDING
from keras_rmsprop.migration.comparison.porting import Port
from keras_rmsprop.migration.files import replacing


@dataclasses.dataclass(frozen=True)
class Remedy:
    """The optimizer proposed in the candidate's place, tried in the same training.

    Attributes:
        call: Its constructor call, as text.
        equivalent: Whether it stayed within the tolerance.
        max_abs_difference: Its greatest difference from the reference.
        max_ulp: The same in representable values.
    """

    call: str
    equivalent: bool
    max_abs_difference: float
    max_ulp: int


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What training with two optimizers showed.

    Attributes:
        reference: The reference's constructor call, as text.
        candidate: The candidate's.
        workload: What was trained, as text.
        dtype: Name of the variables' dtype.
        rtol: Relative tolerance.
        atol: Absolute tolerance.
        steps: Tuple of `StepFigures`, one for each step.
        variables: Tuple of `VariableFigures`, one for each variable.
        reference_loss: Loss of the reference on the last batch.
        candidate_loss: Loss of the candidate on the last batch.
        causes: Tuple of `Cause`, the one that explains most first; empty where the
            runs are the same to the bit, or equivalent although ingredients differ.
        remedy: `Remedy`, or None where the runs are equivalent.
        unjudged: Number of steps at the end of a recording that hold no values and
            whose checksums are others than the candidate's.
        port: `Port`: whether a model is the one that was recorded; None where no
            recording was compared, or no model given.
        remark: What to know of the reference, or None.
    """

    reference: str
    candidate: str
    workload: str
    dtype: str
    rtol: float
    atol: float
    steps: tuple
    variables: tuple
    causes: tuple = ()
    remedy: Remedy | None = None
    unjudged: int = 0
    port: Port | None = None
    remark: str | None = None

    @property
    def equivalent(self):
        """Whether every element stayed within the tolerance at every step."""
        return self.first_divergence is None and not self.unjudged

    @property
    def first_divergence(self):
        """The first step, from 1, that left an element outside the tolerance."""
        return next((s.step for s in self.steps if s.mismatched), None)

    @property
    def max_abs_difference(self):
        """Greatest absolute difference of any element after any step."""
        return max(step.max_abs_difference for step in self.steps)

    @property
    def max_ulp(self):
        """Greatest number of representable values between two elements."""
        return max(step.max_ulp for step in self.steps)

    @property
    def reference_loss(self):
        """Loss of the reference on the last batch, None if it is not recorded."""
        return self.steps[-1].reference_loss

    @property
    def candidate_loss(self):
        """Loss of the candidate on the last batch, None if it trained no model."""
        return self.steps[-1].candidate_loss

    def report(self):
        """Returns the findings as text, with the change that makes both equal."""
        return "\n".join(_report(self)) + "\n"

    def to_json(self, path):
        """Writes all figures to a JSON file.

        Non-finite numbers are the strings `"inf"`, `"-inf"` and `"nan"`. A file that
        was there before is replaced only once the new one is complete.

        Args:
            path: Path of the file.
        """
        names = (
            "equivalent",
            "first_divergence",
            "max_abs_difference",
            "max_ulp",
            "reference_loss",
            "candidate_loss",
        )
        summary = {name: getattr(self, name) for name in names}
        figures = _jsonable({**summary, **dataclasses.asdict(self)})
        text = json.dumps(figures, indent=2, allow_nan=False)
        with replacing(path) as file:
            file.write(f"{text}\n".encode())

    def plot(self, path):
        """Draws the divergence per step and both loss curves.

        Args:
            path: Path of the picture; its ending decides the format.

        Raises:
            ImportError: If matplotlib is not installed.
        """
        from keras_rmsprop.migration.comparison.plotting import draw

        draw(self, path)


def _jsonable(value):
    if isinstance(value, dict):
        return {key: _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _report(found):
    yield "RMSProp trajectories " + (
        "are equivalent." if found.equivalent else "are not equivalent!"
    )
    yield ""
    yield f"reference: {found.reference}"
    yield f"candidate: {found.candidate}"
    yield (
        f"trained:   {len(found.steps)} steps on {found.workload}, {found.dtype}, "
        "from the same start"
    )
    if found.remark:
        yield f"remark:    {found.remark}"
    if found.port:
        yield ""
        yield from found.port.report()
    yield ""
    yield from _mismatch(found)
    yield ""
    yield from _table(
        ["variable", "mismatched", "greatest difference", "at step", "ULP"],
        [
            [
                figures.name,
                f"{figures.mismatched} / {figures.elements}",
                f"{figures.max_abs_difference:.3g}",
                str(figures.max_abs_step or "-"),
                str(figures.max_ulp),
            ]
            for figures in found.variables
        ],
    )
    if found.causes:
        yield ""
        yield "Why:"
        yield from _why(found)
    if found.remedy:
        yield ""
        yield from _advice(found)


def _mismatch(found):
    elements = sum(figures.elements for figures in found.variables)
    mismatched = sum(figures.mismatched for figures in found.variables)
    first = found.first_divergence
    yield (
        f"Mismatched elements: {mismatched} / {elements} "
        f"({100 * mismatched / elements:.1f}%)"
        + ("" if first is None else f", the first at step {first}")
    )
    if found.unjudged:
        yield (
            f"Not judged: the last {found.unjudged} steps. The recording holds no "
            "values there, and its checksums say that bits differ"
        )
    if found.max_ulp == 0:
        yield "Greatest difference: none, equal to the bit (0 ULP)"
    else:
        for kind, allowed in (("absolute", found.atol), ("relative", found.rtol)):
            short = kind[:3]
            worst = max(
                found.variables, key=lambda f: getattr(f, f"max_{short}_difference")
            )
            index = getattr(worst, f"max_{short}_index")
            yield (
                f"Greatest {kind} difference: "
                f"{getattr(worst, f'max_{short}_difference'):.6g} in {worst.name!r} "
                f"at index {index}, step {getattr(worst, f'max_{short}_step')} "
                f"(up to {allowed:g} allowed)"
            )
        yield f"Greatest distance: {found.max_ulp} ULP (representable values between)"
    losses = [
        f"{loss:.6g} with the {which}"
        for which in ("reference", "candidate")
        if (loss := getattr(found, f"{which}_loss")) is not None
    ]
    if losses:
        yield f"Final loss: {', '.join(losses)}"


def _why(found):
    swaps = [cause for cause in found.causes if cause.reference is not None]
    if swaps:
        yield "  Swapped in the candidate, one at a time, for the reference's:"
        rows = [
            [
                cause.name,
                f"{cause.candidate} -> {cause.reference}",
                f"{cause.remaining_alone:.3g}",
                f"{cause.remaining:.3g}",
            ]
            for cause in swaps
        ]
        heads = ["ingredient", "swap", "alone leaves", "with those above leaves"]
        rows.insert(0, ["(nothing)", "", "", f"{found.max_abs_difference:.3g}"])
        yield from _table(heads, rows, indent="  ")
    for cause in found.causes:
        if cause.note:
            yield f"  {cause.name}: {cause.note}"
        elif cause.name == ROUNDING:
            what = "what remains" if swaps else "what differs"
            yield f"  {cause.name}: {what}, up to {cause.remaining:.3g}, is rounding"


def _advice(found):
    remedy = found.remedy
    measured = (
        f"differs from the reference by {remedy.max_abs_difference:.3g} at most "
        f"({remedy.max_ulp} ULP) in the same training"
    )
    if remedy.equivalent:
        yield f"To make them equal, use\n  {remedy.call}"
        yield f"which {measured}, as measured."
    else:
        yield f"None of our optimizers does the same:\n  {remedy.call}"
        yield f"{measured}. To make them equal, use the reference itself,"
        yield f"  {found.reference}"


def _table(heads, rows, indent=""):
    widths = [max(map(len, column)) for column in zip(heads, *rows)]
    for row in (heads, ["-" * width for width in widths], *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths))
        yield indent + "  ".join(cells).rstrip()
