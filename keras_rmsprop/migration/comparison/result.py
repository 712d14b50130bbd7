"""What a comparison found, and how it tells it."""

import dataclasses
import json
import math
import os

from keras_rmsprop.migration.comparison import reporting
from keras_rmsprop.migration.comparison.porting import Port
from keras_rmsprop.migration.files import replacing


@dataclasses.dataclass(frozen=True)
class Remedy:
    """The optimizer proposed in the candidate's place, tried in the same training.

    Attributes:
        call: Its constructor call, as text.
        code: Lines of Python that make it, imports included. `...` stands for what
            cannot be written, such as a learning rate that a function computes.
        equivalent: Whether it stayed within the tolerance.
        max_abs_difference: Its greatest difference from the reference.
        max_ulp: The same in representable values.
    """

    call: str
    code: str
    equivalent: bool
    max_abs_difference: float
    max_ulp: int


@dataclasses.dataclass(frozen=True, repr=False)
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
    def equivalent(self) -> bool:
        """Whether every element stayed within the tolerance at every step."""
        return self.first_divergence is None and not self.unjudged

    @property
    def first_divergence(self) -> int | None:
        """The first step, from 1, that left an element outside the tolerance."""
        return next((s.step for s in self.steps if s.mismatched), None)

    @property
    def max_abs_difference(self) -> float:
        """Greatest absolute difference of any element after any step."""
        return max(step.max_abs_difference for step in self.steps)

    @property
    def max_ulp(self) -> int:
        """Greatest number of representable values between two elements."""
        return max(step.max_ulp for step in self.steps)

    @property
    def reference_loss(self) -> float | None:
        """Loss of the reference on the last batch, None if it is not recorded."""
        return self.steps[-1].reference_loss

    @property
    def candidate_loss(self) -> float | None:
        """Loss of the candidate on the last batch, None if it trained no model."""
        return self.steps[-1].candidate_loss

    @property
    def summary(self) -> str:
        """What came of it, in a sentence."""
        return reporting.summary(self)

    def report(self) -> str:
        """Returns the findings as text, with the change that makes both equal."""
        return reporting.report(self)

    def __repr__(self) -> str:
        return (
            f"<Comparison of {self.reference} with {self.candidate}, "
            f"{len(self.steps)} steps: {self.summary}>"
        )

    def to_json(self, path: str | os.PathLike) -> None:
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

    def plot(self, path: str | os.PathLike) -> None:
        """Draws the divergence per step, what is left without each cause, and losses.

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
