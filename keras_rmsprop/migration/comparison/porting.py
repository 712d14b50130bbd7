"""Whether a ported model is the one that was recorded: loss, gradients, statistics.

The recorded variables are put into the model before each step, so that what differs
then is the model's doing and not the optimizer's. What differs is explained by
experiments on the first step that shows it.
"""

import dataclasses
import itertools

import keras
import numpy as np

from keras_rmsprop.migration.comparison import explaining, recorded, workloads
from keras_rmsprop.migration.comparison.differences import TOLERANCES
from keras_rmsprop.migration.comparison.simulation import clipped
from keras_rmsprop.migration.comparison.training import Objective, as_numpy
from keras_rmsprop.migration.recording import Slices
from keras_rmsprop.migration.state import matching
from keras_rmsprop.migration.state.optimizer_state import OptimizerState, VariableState

# Of what cannot be matched, so much is printed.
_MOST = 6
# From how many elements on the spread of start values tells of an initializer.
_SAMPLE = 50


@dataclasses.dataclass(frozen=True)
class Port:
    """What putting recorded variables into a model showed.

    Attributes:
        steps: Number of steps whose loss and gradients were held against each other.
        loss_difference: Greatest difference of the loss relative to the recorded one;
            None where no loss was recorded.
        gradient_difference: Greatest difference of a gradient, relative to its
            greatest element.
        variable: Path of the first variable whose gradient differs, or None. Of
            several in one step the one that differs most.
        step: The first step, from 1, in which something differs, or None.
        agrees: Whether loss, gradients and the model's other variables agree.
        findings: Tuple of texts: what explains a difference, and what differs besides.
        not_judged: Tuple of texts: what agreement says nothing about.
    """

    steps: int
    loss_difference: float | None
    gradient_difference: float
    variable: str | None
    step: int | None
    agrees: bool
    findings: tuple
    not_judged: tuple = ()

    def report(self):
        """Yields the findings as lines of text."""
        known = [self.gradient_difference]
        if self.loss_difference is not None:
            known.append(self.loss_difference)
        what = "loss and gradients" if len(known) > 1 else "gradients"
        if self.agrees:
            yield (
                f"Model: {what} agree to {max(known):.1g} at all {self.steps} steps: "
                "the model is ported right"
                + (", as far as it was judged." if self.not_judged else ".")
            )
        elif self.variable is not None:
            yield (
                f"Model: the gradient of {self.variable!r} differs by "
                f"{_percent(self.gradient_difference)} at step {self.step}: the model "
                "is not the same."
            )
        elif self.step is not None:
            yield (
                f"Model: the loss differs by {_percent(self.loss_difference)} at step "
                f"{self.step}, the gradients agree."
            )
        else:
            yield (
                f"Model: {what} agree to {max(known):.1g} at all {self.steps} steps, "
                "but other variables of the model do not."
            )
        for finding in (*self.findings, *self.not_judged):
            yield f"  {finding}"


def _percent(share):
    return f"{100 * share:.2g} %"


def check(
    recording, model, data, name_map, steps, rtol=None, atol=None, batch_size=None
):
    """Holds a model's loss and gradients against the recorded ones.

    Args:
        recording: A `Recording`.
        model: A Keras model or a callable that builds one, or None for no check.
        data: Batches, as for `compare`; None for the recorded ones.
        name_map: Dictionary of recorded names by paths of the model's variables.
        steps: How many of the recorded steps to look at.
        rtol: Relative tolerance, as for `compare`.
        atol: Absolute tolerance, as for `compare`.
        batch_size: Length of the batches to cut `data` into, as for `compare`.

    Returns:
        `Port`, or None without a model.

    Raises:
        ValueError: If variables cannot be matched, or batches are missing.
    """
    if model is None:
        for name, value in (
            ("data", data),
            ("name_map", name_map),
            ("batch_size", batch_size),
        ):
            if value is not None:
                raise ValueError(
                    f"`{name}` says nothing about a recording without `model`. "
                    f"Received: {name} of type {type(value).__name__}"
                )
        return None
    model = workloads.checked_model(model)
    pairs = dict.items(name_map) if isinstance(name_map, dict) else ()
    if name_map is not None and not (
        isinstance(name_map, dict)
        and all(isinstance(name, str) for pair in pairs for name in pair)
    ):
        raise ValueError(
            "`name_map` must be a dictionary of recorded names by paths of variables. "
            f"Received: name_map={name_map!r}"
        )
    with Objective(model) as objective:
        places, others = _matched(recording, model, objective, name_map)
        batches = _Batches(recording, data, steps, batch_size)
        dtype = objective.start[0].dtype.name
        default_rtol, default_atol = TOLERANCES[dtype]
        checking = _Checking(
            objective,
            recording,
            places,
            others,
            default_rtol if rtol is None else rtol,
            default_atol if atol is None else atol,
        )
        return checking.run(batches, steps)


def _matched(recording, model, objective, name_map):
    """Returns the position in the recording of each variable, trained and other."""
    held = {
        name: VariableState({"rms": value}, value)
        for name, value in zip(recording.names, recording.start)
    }
    trained = model.trainable_variables
    untrained = list(
        filter(_is_statistic, objective.others if recording.others else ())
    )
    found = matching.match(
        *([(v.path, tuple(v.shape)) for v in each] for each in (trained, untrained)),
        OptimizerState(held, others=recording.others),
        name_map,
        "[v.path for v in model.trainable_variables]",
    )
    if found.problems:
        problems = [*found.problems[:_MOST], *_transposed(recording, trained)]
        if len(found.problems) > _MOST:
            problems.append(f"and {len(found.problems) - _MOST} more of this kind")
        raise ValueError(
            f"The variables of {str(recording.path)!r} and of the model "
            f"{model.name!r} cannot be matched; `name_map` decides.\n"
            + "\n".join(f"- {problem}" for problem in problems)
            + f"\n{found.advice}"
        )
    names, others = list(recording.names), list(recording.others)
    numbers = {id(variable): i for i, variable in enumerate(objective.others)}
    return (
        [names.index(found.names[i]) for i in range(len(trained))],
        {
            numbers[id(variable)]: others.index(found.names[i])
            for i, variable in enumerate(untrained, len(trained))
            if i in found.names
        },
    )


def _is_statistic(variable):
    # Seeds of random layers are integers, and metrics belong to nobody's port.
    return "float" in keras.backend.standardize_dtype(variable.dtype)


def _transposed(recording, variables):
    """Yields what only has its axes the other way round."""
    shapes = {
        value.shape: name for name, value in zip(recording.names, recording.start)
    }
    given = {tuple(variable.shape) for variable in variables}
    for variable in variables:
        shape = tuple(variable.shape)
        turned = shape[::-1]
        if shape != turned and shape not in shapes and turned in set(shapes) - given:
            yield (
                f"{variable.path!r} of shape {shape} may be {shapes[turned]!r} of "
                f"shape {turned} transposed"
            )


class _Batches:
    """The batch of each step: the recorded one, or the one given in its place."""

    def __init__(self, recording, data, steps, batch_size):
        self._given = None
        if data is not None or batch_size is not None:
            self._given = workloads.checked_batches(data, steps, batch_size)
        if self._given is not None and len(self._given) < steps:
            raise ValueError(
                "`data` must have a batch for each of the recorded steps to compare, "
                f"{steps}. Received: {len(self._given)} batches"
            )
        self._name = str(recording.path)

    def of(self, number, step):
        """Returns the batch for a recorded step, and what it should have been."""
        if self._given is not None:
            return self._given[number]
        if step.batch is None:
            raise ValueError(
                f"`data` must be given, because {self._name!r} holds no batches. "
                "Received: data=None"
            )
        batch = step.batch
        if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            raise ValueError(
                f"`data` must be given, because the batches of {self._name!r} are no "
                "pairs (x, y). Received: data=None"
            )
        return tuple(batch)

    def misplaced(self, number, step):
        """Returns which given batch the recorded one is, or None if it is its own."""
        if self._given is None or step.batch is None:
            return None
        if _same_batch(self._given[number], step.batch):
            return None
        for other, batch in enumerate(self._given):
            if _same_batch(batch, step.batch):
                return other
        return -1

    def others(self, number):
        """Yields the other given batches with their numbers."""
        for other, batch in enumerate(self._given or ()):
            if other != number:
                yield other, batch


def _same_batch(a, b):
    a, b = keras.tree.flatten(a), keras.tree.flatten(b)
    return len(a) == len(b) and all(
        np.shape(x) == np.shape(y) and np.allclose(x, y, rtol=1e-6, atol=1e-6)
        for x, y in zip(a, b)
    )


class _Checking:
    """Goes through the steps, and looks for what explains the first that differs.

    Attributes:
        names: List of the paths of the model's variables.
        places: List of their positions in the recording.
        rtol: Relative tolerance.
    """

    def __init__(self, objective, recording, places, others, rtol, atol):
        self.names, self.places, self.rtol = objective.names, places, rtol
        self._objective = objective
        self._recording = recording
        self._others = others
        self._atol = atol
        # How small a gradient may be beside the greatest to be taken for rounding.
        self._floor = 0.1 * atol
        self._unjudged = set()

    def run(self, batches, steps):
        """Returns the `Port`."""
        recording = self._recording
        values, statistics = list(recording.start), list(recording.others.values())
        losses, gradients, checked = [], [0.0], 0
        different = None
        findings, not_judged = list(self._initial()), []
        statistic_finding = None
        for number, step in enumerate(itertools.islice(recording, steps)):
            if values is not None:
                for place, value in step.changed.items():
                    values[place] = value
                expected = [_dense(step.gradients[p], values[p]) for p in self.places]
                if not all(
                    np.isfinite(each).all() for each in (*expected, step.loss or 0)
                ):
                    not_judged.append(
                        f"the recorded run is not finite from step {number + 1} on, "
                        "where the check ends"
                    )
                    break
                x, y = batches.of(number, step)
                loss, computed, after = self.evaluate(values, statistics, x, y)
                checked += 1
                far, worst = self.gradient_difference(computed, expected)
                gradients.append(far)
                loss_far = self.loss_difference(loss, step.loss)
                losses.append(loss_far)
                loss_agrees = loss_far is None or loss_far <= self.rtol
                if worst is not None or not loss_agrees:
                    different = number, worst, far, loss_far
                    moment = explaining.Moment(
                        number,
                        step,
                        values,
                        statistics,
                        (x, y),
                        computed,
                        expected,
                        loss_agrees and loss_far is not None,
                    )
                    findings[:0] = explaining.explain(self, batches, moment)
                    break
                if statistic_finding is None and step.others is not None:
                    statistic_finding = self._statistics(statistics, after, step.others)
            values = None if step.values is None else list(step.values)
            if step.others is not None:
                statistics = list(step.others)
            elif self._others:
                values = None  # Nothing says what the statistics are.
        if statistic_finding:
            findings.insert(0, statistic_finding)
        if different is None:
            not_judged += self._not_judged()
        known = [each for each in losses if each is not None]
        return Port(
            steps=checked,
            loss_difference=max(known) if known else None,
            gradient_difference=max(gradients),
            variable=None
            if different is None or different[1] is None
            else self.names[different[1]],
            step=None if different is None else different[0] + 1,
            agrees=different is None and statistic_finding is None,
            findings=tuple(findings),
            not_judged=tuple(not_judged),
        )

    def evaluate(self, values, statistics, x, y):
        """Returns loss, dense gradients and other variables after a recorded state."""
        own = list(self._objective.others_at_start)
        for mine, theirs in self._others.items():
            own[mine] = statistics[theirs]
        loss, gradients, after = self._objective.evaluate(
            [values[place] for place in self.places], own, x, y
        )
        dense = [
            _dense(as_numpy(gradient), value)
            for gradient, value in zip(gradients, self._objective.start)
        ]
        if self._recording.clipped:
            # This version clipped before the optimizer was given the gradients.
            dense = clipped(dense, recorded.clipping_of(self._recording))
        return loss, dense, after

    def gradient_difference(self, computed, recorded):
        """Returns the greatest relative difference, and whose it is if it counts."""
        scale = max((np.max(np.abs(g), initial=0.0) for g in recorded), default=0.0)
        rounding = 4 * np.finfo(self._objective.start[0].dtype).eps * scale
        greatest, worst, most = 0.0, None, 0.0
        for index, (mine, theirs) in enumerate(zip(computed, recorded)):
            far = np.max(np.abs(mine - theirs), initial=0.0)
            own = max(np.max(np.abs(g), initial=0.0) for g in (mine, theirs))
            relative = float(far / own) if own else 0.0
            if far <= self.rtol * own:
                greatest = max(greatest, relative)
            elif own <= self._floor * scale and far <= max(rounding, own):
                # So small beside the others, it may be nothing but their rounding.
                self._unjudged.add(self.names[index])
            elif not relative <= most:
                worst, most = index, relative
        return (greatest, None) if worst is None else (most, worst)

    def _not_judged(self):
        """Yields what agreement says nothing about."""
        if self._unjudged:
            yield (
                f"not judged: {_some(self._unjudged)}, whose gradients are so small "
                "beside the others that they may be rounding"
            )
        missing = [
            variable.path
            for index, variable in enumerate(self._objective.others)
            if _is_statistic(variable) and index not in self._others
        ]
        if missing:
            yield (
                f"not judged: {_some(missing)}, which the recording does not hold "
                "(`recorder.model` records them)"
            )

    def loss_difference(self, loss, recorded):
        """Returns the relative difference of a loss, None if it is not recorded."""
        if recorded is None:
            return None
        return abs(loss - recorded) / max(abs(recorded), self._atol)

    def _initial(self):
        """Yields in what the start values tell of other initializers."""
        for path, own, place in zip(self.names, self._objective.start, self.places):
            recorded = self._recording.start[place]
            if same_spread(own, recorded):
                continue
            yield (
                f"initializer: {path!r} starts with {_spread(own)} in the model and "
                f"started with {_spread(recorded)}"
            )

    def _statistics(self, before, after, recorded):
        """Returns in what the model's other variables went another way, or None."""
        for mine, theirs in self._others.items():
            own, old = after[mine], before[theirs]
            expected = recorded[theirs]
            scale = max(np.max(np.abs(expected), initial=0), 1.0)
            if np.allclose(own, expected, rtol=self.rtol, atol=self._atol * scale):
                continue
            name = list(self._recording.others)[theirs]
            text = f"{name!r} differs after the step from what was recorded"
            share = explaining.ratio(expected - old, own - old)
            if share is not None:
                text += (
                    f": it moved {share:.4g} times as far. A moving average with "
                    f"momentum m moves by 1 - m, so 1 - m was {share:.4g} times the "
                    "model's (momentum of a batch normalization)"
                )
            return text
        return None


def _dense(gradient, value):
    """Returns a gradient as a dense array in float64; zeros for None."""
    dense = np.zeros(value.shape, np.float64)
    if isinstance(gradient, Slices):
        np.add.at(dense, gradient.indices, gradient.values)
    elif gradient is not None:
        dense += gradient
    return dense


def _some(names):
    names = sorted(names)
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(map(repr, names[:4])) + more


def same_spread(a, b):
    """Whether two arrays of start values may come from one initializer.

    >>> same_spread(np.zeros(3), np.ones(3)), same_spread(np.ones(3), np.ones(3))
    (False, True)
    """
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return bool(np.ptp(a) == np.ptp(b) and np.allclose(a.flat[:1], b.flat[:1]))
    if a.size < _SAMPLE:
        return True
    deviations = np.std(a), np.std(b)
    apart = abs(np.mean(a) - np.mean(b))
    # Five standard errors of a mean and of a deviation.
    return bool(
        apart <= 5 * max(deviations) * (2 / a.size) ** 0.5
        and max(deviations) <= min(deviations) * (1 + 5 / a.size**0.5)
    )


def _spread(values):
    if np.ptp(values) == 0:
        return f"{values.flat[0]:.4g} everywhere"
    return f"mean {np.mean(values):.3g} and deviation {np.std(values):.3g}"
