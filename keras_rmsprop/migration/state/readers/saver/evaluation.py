"""Numbers that a graph computes from constants and variables.

Only arithmetic on scalars is carried out: a file cannot make a reader do anything else,
nor allocate much.
"""

import contextlib
import inspect

import numpy as np
import tensorflow as tf

from keras_rmsprop.migration.state.readers.checkpoint import constant_result
from keras_rmsprop.migration.state.readers.saver.graph import VARIABLES

_ARITHMETIC = frozenset(
    (
        "Abs",
        "Add",
        "AddV2",
        "Ceil",
        "Cos",
        "Div",
        "DivNoNan",
        "Equal",
        "Exp",
        "Expm1",
        "Floor",
        "FloorDiv",
        "FloorMod",
        "Greater",
        "GreaterEqual",
        "Inv",
        "Less",
        "LessEqual",
        "Log",
        "Log1p",
        "LogicalAnd",
        "LogicalNot",
        "LogicalOr",
        "Maximum",
        "Minimum",
        "Mod",
        "Mul",
        "Neg",
        "NotEqual",
        "Pow",
        "RealDiv",
        "Reciprocal",
        "Rint",
        "Round",
        "Rsqrt",
        "Select",
        "SelectV2",
        "Sigmoid",
        "Sign",
        "Sin",
        "Sqrt",
        "Square",
        "SquaredDifference",
        "Sub",
        "Tanh",
        "TruncateDiv",
        "TruncateMod",
    )
)
_MAX_DEPTH = 200


class Unknown(Exception):
    """Says, in words, what a value depends on that is not known."""


class _NotTaken(Exception):
    """A value is on the branch of a condition that is not taken."""


class Evaluation:
    """Evaluates tensors of a graph.

    Args:
        graph: A `Graph`.
        variables: Function that returns the value of a variable, an array, by name, or
            None.
    """

    def __init__(self, graph, variables):
        self._graph = graph
        self._variables = variables
        self._known = {}
        self._depth = 0

    def having(self, values):
        """Returns an evaluation in which some variables have other values."""
        return Evaluation(
            self._graph,
            lambda name: values[name] if name in values else self._variables(name),
        )

    def constant(self, tensor):
        """Returns a scalar that depends on no variable, or None."""
        try:
            return Evaluation(self._graph, lambda name: None).value(tensor)
        except Unknown:
            return None

    def value(self, tensor):
        """Returns a scalar.

        Raises:
            Unknown: If it depends on anything but constants and known variables.
        """
        try:
            return self._value(tensor)
        except _NotTaken as error:
            raise Unknown(f"a condition around {tensor[0]!r}") from error

    def _value(self, tensor):
        if tensor not in self._known:
            if self._depth > _MAX_DEPTH:
                raise Unknown("an expression too long to follow")
            self._depth += 1
            try:
                self._known[tensor] = self._compute(*tensor)
            except (Unknown, _NotTaken) as error:
                self._known[tensor] = error
            finally:
                self._depth -= 1
        if isinstance(self._known[tensor], Exception):
            raise self._known[tensor]
        return self._known[tensor]

    def _compute(self, name, index):
        node = self._graph.nodes.get(name)
        if node is None:
            raise Unknown(f"{name!r}")
        if node.op in VARIABLES:
            value = self._variables(name)
            if value is None:
                raise Unknown(f"the variable {name!r}")
            return _scalar(value, name)
        self._check_is_taken(node)
        if node.op == "Const":
            return _constant(node, name)
        if node.op == "Cast" and node.inputs:
            dtype = tf.as_dtype(node.attr["DstT"].type)
            return self._value(node.inputs[0]).astype(dtype.as_numpy_dtype)
        if node.op in ("Switch", "RefSwitch") and len(node.inputs) == 2:
            return self._switched(node, index)
        if node.op in ("Merge", "RefMerge"):
            return self._merged(node, name)
        if node.op in ("If", "StatelessIf") and len(node.returns) == 2:
            # The first branch is that of a condition that holds.
            branch = node.returns[0 if self._value(node.inputs[0]) else 1]
            if index < len(branch):
                return self._value(branch[index])
        if node.op in _ARITHMETIC:
            return _computed(node, name, [self._value(each) for each in node.inputs])
        before = self._graph.before((name, index))
        if before is not None:
            return self._value(before)
        raise Unknown(f"{name!r} ({node.op})")

    def _check_is_taken(self, node):
        """Raises _NotTaken if a node waits for a branch that is not taken."""
        for tensor in self._graph.branches(node):
            # Whether it is taken matters, and what it brings does not.
            with contextlib.suppress(Unknown):
                self._value(tensor)

    def _switched(self, node, index):
        data, condition = node.inputs
        try:
            taken = bool(self._value(condition)) == bool(index)
        except Unknown:
            # It may be: then whatever brings both branches together cannot tell.
            taken = True
        if not taken:
            raise _NotTaken
        return self._value(data)

    def _merged(self, node, name):
        values = []
        for tensor in node.inputs:
            try:
                values.append(self._value(tensor))
            except _NotTaken:
                continue
        if not values:
            raise _NotTaken
        if any(value != values[0] for value in values):
            raise Unknown(f"the condition of {name!r}")
        return values[0]


def _scalar(value, name):
    value = np.asarray(value)
    if value.ndim or value.dtype.kind not in "fiub":
        raise Unknown(f"{name!r}, which is no number")
    return value[()]


def _constant(node, name):
    tensor = node.attr["value"].tensor
    # The shape is looked at first: what it says would be allocated.
    if tensor.tensor_shape.dim or tensor.tensor_shape.unknown_rank:
        raise Unknown(f"{name!r}, which is no number")
    try:
        return _scalar(tf.make_ndarray(tensor), name)
    except (TypeError, ValueError) as error:
        raise Unknown(f"{name!r}, which is no number") from error


def _computed(node, name, values):
    """Returns what TensorFlow's own operation makes of values."""
    operation = getattr(tf.raw_ops, node.op)
    arguments = dict(zip(inspect.signature(operation).parameters, values))
    try:
        return constant_result(operation, **arguments)[()]
    except (TypeError, ValueError, tf.errors.OpError) as error:
        raise Unknown(f"{name!r} ({node.op}), which fails: {error}") from error


def decimal(value):
    """Returns the shortest decimal of a dtype: 0.9 rather than 0.8999999761581421."""
    return float(str(value))
