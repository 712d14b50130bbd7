"""A parsed module as a tree: what stands where, and in which line."""

import ast
import functools

import libcst as cst
from libcst import metadata


class Tree:
    """The nodes of a parsed module, their parents and positions.

    Attributes:
      module: the `libcst.Module`.
      nodes: all nodes, in the order of the code.
    """

    def __init__(self, module):
        self.module = module
        self.nodes, self._parents = _nodes_and_parents(module)
        self._positions = {}

    def parent(self, node):
        """Returns what a node stands in, None for the module."""
        return self._parents.get(node)

    def of_kind(self, *kinds):
        """Returns the nodes of some types, in the order of the code."""
        return [node for kind in kinds for node in self._by_kind.get(kind, ())]

    def ancestors(self, node):
        """Yields what a node stands in, inner ones first."""
        for _, parent in self.steps_up(node):
            yield parent

    def steps_up(self, node):
        """Yields pairs of a node and its parent, up to the module."""
        while (parent := self.parent(node)) is not None:
            yield node, parent
            node = parent

    def statement(self, node):
        """Returns the smallest statement around a node."""
        while not isinstance(node, (cst.BaseSmallStatement, cst.BaseStatement)):
            node = self.parent(node)
        return node

    def block(self, node):
        """Returns the suite or module in which the statement around a node stands."""
        while not isinstance(self.parent(node), (cst.BaseSuite, cst.Module)):
            node = self.parent(node)
        return self.parent(node)

    def function_around(self, node):
        """Returns the function that a node is in, or None."""
        for parent in self.ancestors(node):
            if isinstance(parent, cst.FunctionDef):
                return parent
        return None

    def is_method(self, function):
        return isinstance(self.parent(self.parent(function)), cst.ClassDef)

    def is_in_f_string(self, node):
        while node is not None:
            node = self.parent(node)
            if isinstance(node, cst.BaseFormattedStringContent):
                return True
        return False

    def names_in(self, node):
        """Returns all names that occur below a node, as a set."""
        nodes, _ = _nodes_and_parents(node)
        return {each.value for each in nodes if isinstance(each, cst.Name)}

    def strings_in(self, node):
        """Returns the string literals below a node, f-strings not among them."""
        nodes, _ = _nodes_and_parents(node)
        return [each for each in nodes if isinstance(each, cst.SimpleString)]

    def code(self, node):
        return self.module.code_for_node(node)

    def width_before_arguments(self, call):
        """How far the first argument of a call is indented in its statement."""
        statement = call
        while not isinstance(
            statement, (cst.SimpleStatementLine, cst.BaseCompoundStatement)
        ):
            statement = self.parent(statement)
        start = self._position(statement).start.column
        return self._position(call.func).end.column + 1 - start

    @functools.cached_property
    def _by_kind(self):
        kinds = {}
        for node in self.nodes:
            kinds.setdefault(type(node), []).append(node)
        return kinds

    def line(self, node):
        """Returns the line in which a node begins, from 1."""
        if node is self.module:
            return 1
        top = self._top(node)
        return self._first_lines[top] + self._position(node).start.line - 1

    def _top(self, node):
        """The statement of the module in which a node stands."""
        while (parent := self.parent(node)) is not self.module:
            node = parent
        return node

    def _position(self, node):
        """Where a node is, counted from where the module's statement begins.

        The positions of all nodes would take as long as all the rest.
        """
        top = self._top(node)
        if top not in self._positions:
            alone = self.module.with_changes(header=(), body=[top], footer=())
            wrapper = metadata.MetadataWrapper(alone, unsafe_skip_copy=True)
            self._positions[top] = wrapper.resolve(metadata.PositionProvider)
        return self._positions[top][node]

    @functools.cached_property
    def _first_lines(self):
        """The line from which on each statement of the module stands."""
        code = "".join(map(self.code, self.module.header))
        lines, line = {}, 1 + code.count("\n")
        for statement in self.module.body:
            lines[statement] = line
            line += self.code(statement).count("\n")
        return lines


def dotted(node):
    """Returns `a.b.c` for names and attributes of names, None for all else."""
    if isinstance(node, cst.Name):
        return node.value
    if isinstance(node, cst.Attribute):
        value = dotted(node.value)
        return value and f"{value}.{node.attr.value}"
    return None


def root(node):
    """Returns the first name of a dotted expression."""
    while isinstance(node, cst.Attribute):
        node = node.value
    return node


def last(node):
    """Returns the last part of a dotted expression."""
    return node.attr.value if isinstance(node, cst.Attribute) else node.value


def literal(node):
    """Returns the value of a literal, or Ellipsis where it is none."""
    try:
        return ast.literal_eval(cst.Module([]).code_for_node(node))
    except (ValueError, SyntaxError, TypeError):
        return ...


def is_string(node, text):
    """Whether a node is the literal of a text."""
    # Most are not, and to evaluate them all takes long.
    return (
        isinstance(node, cst.SimpleString)
        and text in node.value
        and literal(node) == text
    )


def is_rmsprop(node):
    """Whether a node is a string by which Keras knows RMSProp."""
    if not isinstance(node, cst.SimpleString) or "rmsprop" not in node.value.lower():
        return False
    value = literal(node)
    return isinstance(value, str) and value.lower() == "rmsprop"


def _nodes_and_parents(module):
    """Returns all nodes, outer ones first, and the parent of each."""
    nodes, parents, pending = [], {}, [module]
    while pending:
        node = pending.pop()
        nodes.append(node)
        children = node.children
        for child in children:
            parents[child] = node
        pending.extend(reversed(children))
    return nodes, parents
