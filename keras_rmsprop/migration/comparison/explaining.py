"""Which difference of a model reproduces the gradients that were recorded."""

from typing import Any, NamedTuple

import numpy as np

# How exactly an experiment has to reproduce what was recorded, to be believed. It
# explains differences of a percent and more, and other versions round differently.
_EXPLAINED = 1e-3


class Moment(NamedTuple):
    """A recorded step in which a model differs.

    Attributes:
        number: Position of the step.
        step: The `RecordedStep`.
        values: List of the recorded variables before it.
        statistics: List of the model's other recorded variables before it.
        batch: Pair `(x, y)` that the model was given.
        computed: List of the model's gradients, dense.
        recorded: List of the recorded ones, in the model's order.
        loss_agrees: Whether a loss was recorded and is the model's.
    """

    number: int
    step: Any
    values: list
    statistics: list
    batch: tuple
    computed: list
    recorded: list
    loss_agrees: bool


def explain(checking, batches, moment):
    """Returns what reproduces the recorded gradients or loss, as a list of texts.

    Args:
        checking: What evaluates the model in a recorded state.
        batches: Batches that were given in place of the recorded ones.
        moment: `Moment`.
    """
    order = list(_order(checking, batches, moment))
    return order or list(_model(checking, moment))


def _model(checking, moment):
    scale = ratio(_joined(moment.recorded), _joined(moment.computed))
    if scale is not None and abs(scale - 1) > _EXPLAINED and moment.loss_agrees:
        yield (
            f"scaled: all recorded gradients are {scale:.6g} times the model's and the "
            "loss is the same, as where a program clips or scales gradients before it "
            "gives them to the optimizer"
        )
        return
    if scale is not None and abs(scale - 1) > _EXPLAINED:
        yield (
            f"loss reduction: all recorded gradients are {scale:.6g} times the "
            "model's, as where a loss is summed over a batch (or a shape) instead "
            "of averaged, or weighted"
        )
        return
    turned = _turned(checking, moment)
    if turned:
        yield (
            f"transposed: with {', '.join(turned)} transposed, the gradients are "
            "the recorded ones"
        )
        return
    yield from _regularized(checking, moment)


def _order(checking, batches, moment):
    number, step = moment.number, moment.step
    place = batches.misplaced(number, step)
    if place is not None:
        where = "none of `data`" if place < 0 else f"batch {place + 1} of `data`"
        yield (
            f"data order: the recorded batch of step {number + 1} is {where}, not "
            f"batch {number + 1}"
        )
        return
    if step.loss is None or step.batch is not None:
        return
    for other, (x, y) in batches.others(number):
        loss, computed, _ = checking.evaluate(moment.values, moment.statistics, x, y)
        _, worst = checking.gradient_difference(computed, moment.recorded)
        if worst is None and checking.loss_difference(loss, step.loss) <= checking.rtol:
            yield (
                f"data order: the recorded loss of step {number + 1} is that of "
                f"batch {other + 1} of `data`, not of batch {number + 1}"
            )
            return


def _turned(checking, moment):
    """Returns the paths of square kernels that have to be transposed."""
    square = [
        index
        for index, gradient in enumerate(moment.recorded)
        if gradient.ndim == 2 and gradient.shape[0] == gradient.shape[1] > 1
    ]
    # One of them, or all alike; every combination would be too many.
    for chosen in dict.fromkeys([*((index,) for index in square), tuple(square)]):
        values = list(moment.values)
        for place in (checking.places[index] for index in chosen):
            values[place] = values[place].T
        _, computed, _ = checking.evaluate(values, moment.statistics, *moment.batch)
        for index in chosen:
            computed[index] = computed[index].T
        _, worst = checking.gradient_difference(computed, moment.recorded)
        if chosen and worst is None:
            return [repr(checking.names[index]) for index in chosen]
    return []


def _regularized(checking, moment):
    """Yields the variables whose gradients differ as by a regularizer."""
    for name, place, mine, theirs in zip(
        checking.names, checking.places, moment.computed, moment.recorded
    ):
        value = moment.values[place]
        for kind, of, form in (
            ("l2", "value", 2 * value),
            ("l1", "sign", np.sign(value)),
        ):
            share = ratio(theirs - mine, form)
            if share is None or abs(share) < 1e-9:
                continue
            whose = "the recorded one had" if share > 0 else "only the model has"
            yield (
                f"regularizer: the gradient of {name!r} differs by a multiple of its "
                f"{of}, as by {kind}={abs(share):.3g}, which {whose}"
            )
            break


def _joined(arrays):
    return np.concatenate([array.ravel() for array in arrays])


def ratio(a, b):
    """Returns the number that makes `a` of `b`, None if there is none."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    norm = float(np.sum(b * b))
    if a.size < 2 or not norm or not np.any(a):
        return None
    share = float(np.sum(a * b)) / norm
    left = np.max(np.abs(a - share * b))
    return share if left <= _EXPLAINED * np.max(np.abs(a)) else None
