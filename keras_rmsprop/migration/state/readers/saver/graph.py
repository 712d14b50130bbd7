"""The graph in a `.meta` file, with the bodies of its functions laid open."""

import dataclasses
import os
import re

from google.protobuf.message import DecodeError
from tensorflow.core.framework import variable_pb2
from tensorflow.core.protobuf import meta_graph_pb2

# Their first input is what they give, in both directions of a Switch. `Enter` brings
# into a loop what stays the same there; what changes comes through a `Merge`.
_PASSES = frozenset(
    (
        "Identity",
        "RefIdentity",
        "ReadVariableOp",
        "Enter",
        "RefEnter",
        "Switch",
        "RefSwitch",
        "StopGradient",
        "PreventGradient",
    )
)
VARIABLES = frozenset(("Variable", "VariableV2", "VarHandleOp"))
# Attributes with the functions that an operation runs, and where their arguments start.
_BRANCHES = {
    "If": (("then_branch", "else_branch"), 1),
    "StatelessIf": (("then_branch", "else_branch"), 1),
    "While": (("body",), 0),
    "StatelessWhile": (("body",), 0),
    "PartitionedCall": (("f",), 0),
    "StatefulPartitionedCall": (("f",), 0),
}
_LOOPS = ("While", "StatelessWhile")
# No program nests or repeats functions so often.
_MAX_DEPTH = 32
_MAX_INLINED = 1_000_000


@dataclasses.dataclass(slots=True)
class Node:
    """An operation.

    Attributes:
        op: Its type.
        inputs: List of the tensors it takes, pairs of a name and an output's index.
        controls: List of names of operations that it waits for.
        attr: Its attributes.
        returns: For an operation that runs functions, the lists of tensors that each
            returns.
    """

    op: str
    inputs: list
    controls: list
    attr: object
    returns: list = dataclasses.field(default_factory=list)


class Graph:
    """The graph beside a checkpoint.

    Attributes:
        path: The file.
        nodes: Dictionary of `Node` by name. Those in functions have the name of the
            operation that runs the function before their own.
        tensorflow: Version of TensorFlow that wrote it, or an empty string.
        saver: Name scope of the `Saver` that wrote the file, or None.
        global_step: Name of the variable that the graph calls its global step, or
            None.
    """

    @classmethod
    def beside(cls, prefix):
        """Returns the graph beside a checkpoint, or None if there is no such file."""
        path = f"{prefix}.meta"
        if not os.path.exists(path):
            return None
        meta = meta_graph_pb2.MetaGraphDef()
        try:
            with open(path, "rb") as file:
                meta.ParseFromString(file.read())
            return cls(path, meta)
        except (DecodeError, OSError) as error:
            raise ValueError(
                f"{path!r} is truncated or damaged: {error}. Without that file the "
                "names in the checkpoint are used."
            ) from error

    def __init__(self, path, meta):
        self.path = path
        self.nodes = {}
        self.tensorflow = meta.meta_info_def.tensorflow_version
        saver = meta.saver_def.save_tensor_name
        self.saver = saver.rpartition("/")[0] if saver else None
        self._choices = {}
        self.global_step = None
        if "global_step" in meta.collection_def:
            for value in meta.collection_def["global_step"].bytes_list.value:
                definition = variable_pb2.VariableDef.FromString(value)
                self.global_step = definition.variable_name.partition(":")[0]
        self._library = {f.signature.name: f for f in meta.graph_def.library.function}
        self._lay_open(meta.graph_def.node)

    def source(self, tensor, casts=False):
        """Follows a tensor to where its value comes from.

        Args:
            tensor: A pair of a name and an output's index.
            casts: Whether to follow through changes of dtype.

        Returns:
            Such a pair, of the operation that makes the value or holds the variable.
        """
        for _ in range(len(self.nodes) + 1):
            before = self.before(tensor, casts)
            if before is None:
                break
            tensor = before
        return tensor

    def variable(self, tensor):
        """Returns the name of the variable that a tensor is or reads, or None."""
        name = self.source(tensor)[0]
        return name if name in self.nodes and self.nodes[name].op in VARIABLES else None

    def before(self, tensor, casts=False):
        """Returns the tensor that one only hands on, or None."""
        name, index = tensor
        if name not in self.nodes:
            return None
        node = self.nodes[name]
        if node.inputs and (node.op in _PASSES or casts and node.op == "Cast"):
            return node.inputs[0]
        given = [results[index] for results in node.returns if index < len(results)]
        if node.op in _LOOPS:
            # What a loop does not change comes out of it as it went in.
            given += node.inputs[index : index + 1]
        elif node.op in ("Merge", "RefMerge"):
            given = node.inputs
        if not given:
            return None
        # A choice between the same is none. Damaged graphs have cycles: while its
        # sources are looked for, a choice is a source itself.
        key = (tensor, casts)
        if key not in self._choices:
            self._choices[key] = None
            sources = {self.source(each, casts) for each in given}
            self._choices[key] = sources.pop() if len(sources) == 1 else None
        return self._choices[key]

    def branches(self, node):
        """Returns the outputs of switches that a node waits for, to be on a branch."""
        found = []
        for name in node.controls:
            pivot = self.nodes.get(name)
            if pivot is not None and pivot.op == "Identity" and pivot.inputs:
                name = pivot.inputs[0][0]
                if name in self.nodes and self.nodes[name].op == "Switch":
                    found.append(pivot.inputs[0])
        return found

    def _lay_open(self, definitions):
        """Adds the nodes, and in turn those of the functions that they run."""
        waiting = [(definitions, "", {}, 0)]
        inlined = 0
        while waiting:
            definitions, scope, arguments, depth = waiting.pop()
            inlined += len(definitions) if scope else 0
            if depth > _MAX_DEPTH or inlined > _MAX_INLINED:
                raise ValueError(
                    f"{self.path!r} is damaged, or its functions run one another more "
                    "often than this library follows."
                )
            for definition in definitions:
                node = _node(definition, scope, arguments)
                name = scope + definition.name
                self.nodes[name] = node
                for function, given in self._runs(node):
                    inner = f"{name}::{len(node.returns)}:"
                    known = _arguments(function, given, node.op in _LOOPS)
                    node.returns.append(
                        [
                            _tensor(function.ret[result.name], inner, known)
                            for result in function.signature.output_arg
                        ]
                    )
                    waiting.append((function.node_def, inner, known, depth + 1))

    def _runs(self, node):
        """Yields the functions that an operation runs, with their arguments."""
        names, start = _BRANCHES.get(node.op, ((), 0))
        names = [node.attr[name].func.name for name in names if name in node.attr]
        # TF1's own functions are operations themselves.
        names += [node.op] if node.op in self._library else []
        for name in names:
            if name in self._library:
                yield self._library[name], node.inputs[start:]


def _node(definition, scope, arguments):
    inputs = [name for name in definition.input if not name.startswith("^")]
    return Node(
        definition.op,
        [_tensor(name, scope, arguments) for name in inputs],
        [scope + name[1:] for name in definition.input if name.startswith("^")],
        definition.attr,
    )


def _tensor(name, scope, arguments):
    """Returns the tensor that an input is: `node:1`, or in functions `node:out:1`."""
    name, *output = name.split(":")
    if name in arguments:
        return arguments[name]
    index = output[-1] if output else "0"
    return scope + name, int(index) if re.fullmatch("[0-9]{1,9}", index) else 0


def _arguments(function, given, is_loop):
    """Returns the tensors that a function's arguments are, by name."""
    arguments = {}
    passes = {
        definition.name: definition.input[0]
        for definition in function.node_def
        if definition.op == "Identity" and definition.input
    }
    results = list(function.signature.output_arg)
    for i, argument in enumerate(function.signature.input_arg):
        arguments[argument.name] = given[i] if i < len(given) else ("", 0)
        if is_loop and i < len(results):
            returned = function.ret[results[i].name].partition(":")[0]
            for _ in range(len(passes)):
                returned = passes.get(returned, returned).partition(":")[0]
            if returned != argument.name:
                # Another value in every round, which no node stands for.
                arguments[argument.name] = (f"loop variable {argument.name}", 0)
    return arguments
