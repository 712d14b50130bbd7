"""Learning rates of a graph that decay, as Keras' schedules.

`tf.train`'s decays are recognized by the operations that they are made of, whatever
scopes these are in, and become Keras' schedules of the same formula. What rounds as a
session of that TensorFlow did is `keras_rmsprop.migration.schedules`' affair.
"""

import re

import keras
import numpy as np

from keras_rmsprop.migration.schedules import NaturalExpDecay, TF1Schedule
from keras_rmsprop.migration.state.readers.saver.evaluation import Unknown, decimal

_schedules = keras.optimizers.schedules
# Operations that compute the same.
_SAME = {"AddV2": "Add", "Div": "RealDiv"}
# A pattern is an operation with patterns for its inputs, "step", a number, or the name
# of a constant: Keras' name where it has the same.
_SHARE = ("RealDiv", "step", "decay_steps")
_UNTIL_END = ("RealDiv", ("Minimum", "step", "decay_steps"), "decay_steps")
_ROUNDS = ("Ceil", _SHARE)
_CYCLES = (
    # A condition brings the branch of what does not hold, then that of what does.
    ("Merge", _ROUNDS, 1.0),
    ("SelectV2", ("Equal", "step", 0.0), 1.0, _ROUNDS),
    ("If", ("Equal", "step", 0.0), 1.0, _ROUNDS),
)


def _exponential(share):
    return ("Mul", "initial_learning_rate", ("Pow", "decay_rate", share))


def _natural_exponential(share):
    exponent = ("Mul", ("Neg", "decay_rate"), share)
    return ("Mul", "initial_learning_rate", ("Exp", exponent))


def _inverse_time(share):
    return (
        "RealDiv",
        "initial_learning_rate",
        ("Add", 1.0, ("Mul", "decay_rate", share)),
    )


def _polynomial(share):
    rest = ("Pow", ("Sub", 1.0, share), "power")
    span = ("Sub", "initial_learning_rate", "end_learning_rate")
    return ("Add", ("Mul", span, rest), "end_learning_rate")


_COSINE = (
    "Mul",
    "initial_learning_rate",
    (
        "Add",
        (
            "Mul",
            "one_minus_alpha",
            ("Mul", 0.5, ("Add", 1.0, ("Cos", ("Mul", np.pi, _UNTIL_END)))),
        ),
        "alpha",
    ),
)
# Patterns, what they are, and arguments that they imply.
_DECAYS = [
    (_polynomial(_UNTIL_END), _schedules.PolynomialDecay, {}),
    (_COSINE, _schedules.CosineDecay, {}),
]
for _make, _cls in (
    (_exponential, _schedules.ExponentialDecay),
    (_natural_exponential, NaturalExpDecay),
    (_inverse_time, _schedules.InverseTimeDecay),
):
    _DECAYS.append((_make(_SHARE), _cls, {"staircase": False}))
    _DECAYS.append((_make(("Floor", _SHARE)), _cls, {"staircase": True}))
for _cycle in _CYCLES:
    _share = ("RealDiv", "step", ("Mul", "decay_steps", _cycle))
    _DECAYS.append((_polynomial(_share), _schedules.PolynomialDecay, {"cycle": True}))

# Measured: sessions of 1.4 compute what the graph says, those since 1.5 optimize it.
_OPTIMIZED_SINCE = (1, 5)
# What may be between the step and a rate that is constant between boundaries.
_COMPARES = frozenset(("Less", "LessEqual", "Greater", "GreaterEqual"))
_CHOOSES = frozenset(
    (
        "LogicalAnd",
        "LogicalOr",
        "LogicalNot",
        "Select",
        "SelectV2",
        "Switch",
        "Merge",
        "If",
        "StatelessIf",
        "Identity",
    )
)
_MAX_BOUNDARIES = 1000


class Decays:
    """Finds the schedules of a graph.

    Args:
        graph: A `Graph`.
        evaluation: An `Evaluation` with the variables of a checkpoint.
    """

    def __init__(self, graph, evaluation):
        self._graph = graph
        self._evaluation = evaluation

    def find(self, tensor):
        """Returns what a tensor of the graph is, or None.

        Returns:
            A Keras schedule, the name of the variable that it takes for the step, and
            None or why its values are not quite the graph's.
        """
        return self._decay(tensor) or self._piecewise(tensor)

    def _decay(self, tensor):
        """Returns a schedule, its counter, and why it is not the same, or None."""
        for pattern, cls, implied in _DECAYS:
            found = _Match(self._graph, self._evaluation)
            if not found.match(pattern, tensor) or found.step is None:
                continue
            arguments = {name: decimal(v) for name, v in found.constants.items()}
            steps = arguments["decay_steps"]
            if not np.isfinite(list(arguments.values())).all() or steps <= 0:
                return None
            if "cycle" in implied and not self._cycles(tensor, found.step, arguments):
                return None
            why = None
            rest = arguments.pop("one_minus_alpha", None)
            if rest is not None and np.float32(1 - arguments["alpha"]) != np.float32(
                rest
            ):
                why = "its alpha is not the one of its end"
            if any(v.dtype != np.float32 for v in found.constants.values()):
                why = "it is not computed in float32"
            if not self._keeps_bits(cls, arguments):
                why = "this power rounds otherwise in that version of TensorFlow"
            arguments["decay_steps"] = int(steps) if steps.is_integer() else steps
            return cls(**arguments, **implied), found.step, why
        return None

    def _cycles(self, tensor, counter, arguments):
        """Returns whether the condition in a decay that cycles is that of its start."""
        rate, end = arguments["initial_learning_rate"], arguments["end_learning_rate"]
        for step in (0, 1, int(2.5 * arguments["decay_steps"])):
            share = step / arguments["decay_steps"]
            rest = 1 - share / max(1, np.ceil(share))
            value = self._at(tensor, counter, step)
            expected = (rate - end) * rest ** arguments["power"] + end
            if value is None or not np.isclose(value, expected, rtol=1e-3):
                return False
        return True

    def _keeps_bits(self, cls, arguments):
        # Measured: which powers the graph optimizers of old and of today replace alike.
        power, version = arguments.get("power"), self._version()
        if cls is not _schedules.PolynomialDecay or not self._is_optimized():
            return True
        return power != 3 and (power not in (0.5, 2) or version >= (1, 10))

    def rounding(self, schedule):
        """Returns the schedule that rounds as a session of that TensorFlow."""
        steps = getattr(schedule, "decay_steps", None)
        is_exact = steps is None or float(np.log2(steps)).is_integer()
        simple = _schedules.ExponentialDecay, _schedules.InverseTimeDecay
        if steps is None or (is_exact and isinstance(schedule, simple)):
            # There is nothing to divide, or no difference in how.
            return schedule
        return TF1Schedule(schedule, self._is_optimized())

    def _version(self):
        found = re.match("([0-9]{1,4})[.]([0-9]{1,4})", self._graph.tensorflow)
        return (int(found[1]), int(found[2])) if found else (2, 0)

    def _is_optimized(self):
        return self._version() >= _OPTIMIZED_SINCE

    def _piecewise(self, tensor):
        """Returns what `_decay` does, for rates that only compare the step."""
        comparisons = self._comparisons(tensor)
        if not comparisons:
            return None
        ((counter, _), *_) = comparisons
        limits = {int(np.floor(limit)) for _, limit in comparisons}
        # Between these nothing can change, as steps are whole numbers.
        edges = sorted({limit + i for limit in limits for i in (-1, 0)})
        edges = [edge for edge in edges if edge >= 0] or [0]
        values = [self._at(tensor, counter, edge) for edge in edges]
        values.append(self._at(tensor, counter, edges[-1] + 1))
        if any(value is None or value.dtype != np.float32 for value in values):
            return None
        boundaries, kept = [], values[:1]
        for edge, value in zip(edges, values[1:]):
            if value != kept[-1]:
                boundaries.append(edge)
                kept.append(value)
        if not boundaries:
            return None
        schedule = _schedules.PiecewiseConstantDecay(
            boundaries, [decimal(value) for value in kept]
        )
        return schedule, counter, None

    def _at(self, tensor, counter, step):
        dtype = self._evaluation.value((counter, 0)).dtype
        try:
            value = self._evaluation.having({counter: dtype.type(step)}).value(tensor)
        except Unknown:
            return None
        return np.asarray(value)

    def _comparisons(self, tensor):
        """Returns pairs of a counter and what it is compared with, or None.

        None also if the tensor depends on a counter in any other way.
        """
        found, waiting, seen = set(), [tensor], set()
        while waiting:
            tensor = waiting.pop()
            name = tensor[0]
            node = self._graph.nodes.get(name)
            if tensor in seen or node is None:
                continue
            seen.add(tensor)
            # Even what is constant is on one branch only.
            waiting += self._graph.branches(node)
            if node.op in _COMPARES:
                pair = self._compared(node)
                if pair is None or len(found) > _MAX_BOUNDARIES:
                    return None
                found.add(pair)
            elif node.op in _CHOOSES:
                waiting.extend(node.inputs)
                waiting.extend(each for results in node.returns for each in results)
            elif self._evaluation.constant(tensor) is None:
                return None
        return found if len({counter for counter, _ in found}) == 1 else None

    def _compared(self, node):
        steps = [_counter(self._graph, self._evaluation, each) for each in node.inputs]
        limits = [self._evaluation.constant(tensor) for tensor in node.inputs]
        for step, limit in (zip(steps, limits[::-1])) if len(steps) == 2 else ():
            if step is not None and limit is not None and np.isfinite(limit):
                return step, limit
        return None


class _Match:
    """What the names in a pattern stand for in a graph."""

    def __init__(self, graph, evaluation):
        self._graph = graph
        self._evaluation = evaluation
        self.constants = {}
        self.step = None

    def match(self, pattern, tensor):
        """Returns whether a tensor is what a pattern says."""
        if pattern == "step":
            step = _counter(self._graph, self._evaluation, tensor)
            self.step = self.step or step
            return step is not None and step == self.step
        if isinstance(pattern, tuple):
            operation, *inputs = pattern
            node = self._graph.nodes.get(self._graph.source(tensor, casts=True)[0])
            return (
                node is not None
                and _SAME.get(node.op, node.op) == operation
                and len(node.inputs) >= len(inputs)
                and all(map(self.match, inputs, self._inputs(node, tensor)))
            )
        value = self._evaluation.constant(tensor)
        if value is None:
            return False
        if isinstance(pattern, str):
            return self.constants.setdefault(pattern, value) == value
        return value == np.asarray(pattern, value.dtype)

    def _inputs(self, node, tensor):
        if node.op not in ("If", "StatelessIf"):
            return node.inputs
        index = self._graph.source(tensor, casts=True)[1]
        return [node.inputs[0], *(results[index] for results in node.returns)]


def _counter(graph, evaluation, tensor):
    """Returns the name of the variable of whole numbers that a tensor is, or None."""
    name = graph.variable(graph.source(tensor, casts=True))
    try:
        value = None if name is None else evaluation.value((name, 0))
    except Unknown:
        return None
    return name if value is not None and value.dtype.kind == "i" else None
