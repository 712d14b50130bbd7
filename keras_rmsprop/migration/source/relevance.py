"""Which statements of a program have to do with its RMSProp, found fast.

To understand a statement well costs a hundred times what `ast` does. So functions,
classes and other statements of several lines are left out at first, but for those
that name an optimizer; what is asked about a name brings in those that have it.
"""

import ast

from keras_rmsprop.migration.source import evidence, names
from keras_rmsprop.migration.source.mentions import refers

# Other meanings of what rewritten code writes have to be seen, and what is exported.
_ALWAYS = frozenset({"keras_rmsprop", "compat_v1", "__all__"}) | evidence.IDENTIFIERS


class Relevance:
    """What of a program is needed so far.

    Args:
      tree: the `ast.Module`.

    Example:

    >>> code = "def f():\\n  opt.x = 1\\n\\nopt = RMSprop()\\n"
    >>> relevance = Relevance(ast.parse(code))
    >>> relevance.others()
    [(1, 2)]
    >>> relevance.need(bound=(), read={"opt"}), relevance.others()
    (True, [])
    """

    def __init__(self, tree):
        self._statements = _statements(tree.body, 0)

    def others(self):
        """Returns the first and the last lines of what is not needed, in order."""
        return [span for each in self._statements for span in each.others()]

    def need(self, bound, read):
        """Adds what binds some names, and what has others in whatever way.

        Args:
          bound: names.
          read: names, attributes with a dot and strings with a quote before them.

        Returns:
          Whether anything was missing.
        """
        missing = [
            each
            for one in self._statements
            for each in one.flat()
            if not each.is_needed
            and (not each.bound.isdisjoint(bound) or not each.names.isdisjoint(read))
        ]
        for each in missing:
            each.need()
        return bool(missing)


class _Statement:
    """A statement of the module, or of one of its classes.

    Attributes:
      names: the identifiers in it; attributes have a dot before them, and strings
        that could be identifiers a quote. Those in the body of a class are with
        its members.
      bound: the names that it binds outside of functions.
      is_needed: whether it has to be understood.
    """

    def __init__(self, node, before, owner):
        self._node = node
        self._owner = owner
        self._members = []
        self.names = set()
        self.bound = set()
        first, end = _first_line(node), node.end_lineno
        # What shares a line with others stays beside them.
        self._can_be_left_out = end > first > before
        if isinstance(node, ast.ClassDef):
            self._collect_class(node)
        else:
            self.is_needed = refers(node)
            self._collect(node, inside=False)
        if self.is_needed or not _ALWAYS.isdisjoint(self.names):
            self.need()

    def flat(self):
        """Yields the statement and its members."""
        yield self
        for member in self._members:
            yield from member.flat()

    def need(self):
        """Takes the statement for needed, and the class around it."""
        self.is_needed = True
        if self._owner is not None:
            self._owner.need()

    def others(self):
        """Yields the first and last lines of what is not needed in it."""
        if self.is_needed:
            for member in self._members:
                yield from member.others()
        elif self._can_be_left_out:
            yield _first_line(self._node), self._node.end_lineno

    def _collect_class(self, node):
        outside = [*node.bases, *node.keywords, *node.decorator_list]
        # Where a base is RMSProp, all of the class is of interest.
        self.is_needed = any(refers(each) for each in outside)
        if self.is_needed:
            self._collect(node, inside=False)
            return
        self._bind(node.name)
        for each in outside:
            self._collect(each, inside=False)
        self._members = _statements(node.body, node.lineno, self)

    def _collect(self, node, inside):
        match node:
            case ast.Name(id=name):
                self._add(name, not inside and not isinstance(node.ctx, ast.Load))
            case ast.Attribute(attr=name):
                self.names.add(f".{name}")
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                self._add(name, not inside)
                inside = True
            case ast.ClassDef(name=name):
                self._add(name, not inside)
            case ast.arg(arg=name) | ast.keyword(arg=str(name)):
                self.names.add(name)
            case ast.Global(names=bound):
                for name in bound:
                    self._bind(name)
            case ast.Import() | ast.ImportFrom():
                self._collect_import(node, inside)
            case ast.Constant(value=str(text)) if text.isidentifier():
                self.names.add(f'"{text}')
                self.is_needed |= text == "KERAS_BACKEND"
        for child in ast.iter_child_nodes(node):
            self._collect(child, inside)

    def _collect_import(self, node, inside):
        module = getattr(node, "module", None)
        for alias in node.names:
            self._add((alias.asname or alias.name).split(".")[0], not inside)
            if (module or alias.name).split(".")[0] in names.ROOTS:
                self.is_needed = True

    def _add(self, name, is_bound):
        if is_bound:
            self._bind(name)
        else:
            self.names.add(name)

    def _bind(self, name):
        self.names |= {name, f".{name}"}
        self.bound.add(name)


def _statements(body, before, owner=None):
    """The `_Statement`s of a body; `before` is the line in which it may begin."""
    made = []
    for node, following in zip(body, [*body[1:], None], strict=True):
        if following is not None and _first_line(following) == node.end_lineno:
            before = node.end_lineno  # Its last line is not its own.
        made.append(_Statement(node, before, owner))
        before = max(before, node.end_lineno)
    return made


def _first_line(node):
    decorators = getattr(node, "decorator_list", ())
    return min([node.lineno, *(each.lineno for each in decorators)])
