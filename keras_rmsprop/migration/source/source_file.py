"""One parsed file, with all that a rewrite may ask about it."""

import functools
import re

import libcst as cst
from libcst import metadata

from keras_rmsprop.migration.source import findings, names
from keras_rmsprop.migration.source.tree import Tree, dotted, is_string, root

# By these an attribute or a name is found by a string.
_LOOKUPS = frozenset({"getattr", "attrgetter"})
_NAMESPACES = frozenset({"globals", "vars", "locals", "__dict__"})


class Undecided(Exception):
    """A place that has to be left alone; the message says why."""


class SourceFile(Tree):
    """Names and scopes of a parsed module, and the edits planned for it.

    Rewrites look at the nodes of `module` as they were and plan edits by node; the
    edits are carried out together afterwards, so no rewrite sees another's result.

    Attributes:
      options: the `Options` of this upgrade.
      elsewhere: the `Elsewhere` of the project; None where there is only this file.
      path: the path of the file, where there is a project.
      edits: a mapping from a node to a function of the updated node.
      findings: a set of `Finding`.
      rewritten: a set of `Rewrite`.
      callees: the expressions that name a class in calls to be rewritten.
      asked_bound: the names of which it was asked what binds them.
      asked_read: the names, attributes with a dot and strings with a quote before
        them, of which it was asked where they occur.
      needed_imports: the modules that the rewritten code must import, each with the
        lines after which it will be, None for the top of the file.
    """

    def __init__(self, module, options, program, elsewhere=None, path=None, name=""):
        wrapper = metadata.MetadataWrapper(module, unsafe_skip_copy=True)
        super().__init__(wrapper.module)
        self.options = options
        self.elsewhere = elsewhere
        self.path = path or (elsewhere and elsewhere.path)
        self.edits = {}
        self.findings = set()
        self.rewritten = set()
        self.callees = []
        self.asked_bound = set()
        self.asked_read = set()
        self.needed_imports = {}
        self._scopes = wrapper.resolve(metadata.ScopeProvider)
        self._contexts = wrapper.resolve(metadata.ExpressionContextProvider)
        self._left = set()
        self._program = program
        self._name = name

    def report(self, node, kind, message):
        place = self._program.place(self.line(node))
        self.findings.add(findings.at_place(place, kind, message))

    def record(self, node, era, before, after):
        """Records what a construction becomes."""
        place = self._program.place(self.line(node))
        self.rewritten.add(findings.Rewrite(*place, era, before, after))
        self.report(
            node,
            findings.REWRITTEN,
            f"`{_one_line(self.code(node))}` to `{_one_line(after)}`",
        )

    def leave(self, node, reason):
        """Records that `node` stays as it is, and why."""
        self._left.add(node)
        self.report(node, findings.LEFT_ALONE, reason)

    def is_dealt_with(self, node):
        """Whether a node, or one around it, is rewritten or reported already."""
        done = self._left.union(self.edits)
        return any(each in done for each in (node, *self.ancestors(node)))

    def place(self, node):
        """Returns where a node is, as a message says it."""
        cell, line = self._program.place(self.line(node))
        where = f"cell {cell}, line {line}" if cell else f"line {line}"
        return f"{where} of {self._name}" if self._name else where

    def scope(self, node):
        return self._scopes.get(node)

    @property
    def scopes(self):
        return {scope for scope in self._scopes.values() if scope is not None}

    def occurrences(self, *identifiers):
        """Returns the nodes of some names, or attributes, outside of imports."""
        self.asked_read |= {f"{dot}{each}" for each in identifiers for dot in ("", ".")}
        return [
            node
            for node in self.of_kind(cst.Name)
            if node.value in identifiers
            and not isinstance(self.parent(node), cst.ImportAlias)
        ]

    def is_load(self, node):
        """Whether a name or attribute is read here, not bound or deleted."""
        context = self._contexts.get(node)
        return context is metadata.ExpressionContext.LOAD

    def qualified(self, node):
        """Returns the dotted names that an expression may stand for.

        Imports are followed, and so are names bound to a TensorFlow or Keras
        module (`keras = tf.keras`). What is bound in this file to anything else
        gives a name in angle brackets, which matches nothing.

        Args:
          node: an expression of this file.

        Returns:
          A set of strings, empty where the expression is no dotted name or its
          first part is bound nowhere.
        """
        return self._qualified(node, frozenset())

    def era(self, node):
        """Returns the generation whose class an expression names, or None.

        Raises:
          Undecided: the name is bound to different things on different paths.
        """
        if not isinstance(node, (cst.Name, cst.Attribute)) or not self.may_be_class(
            node
        ):
            return None
        eras = {names.era_of(name) for name in self.qualified(node)}
        if len(eras) > 1:
            raise Undecided(
                f"`{self.code(node)}` is bound to different things in this file"
            )
        return eras.pop() if eras else None

    def loads_of(self, target):
        """Returns the places where what was assigned to `target` is read.

        Args:
          target: what an assignment or a global import binds: a name, or
            attributes of a name.

        Returns:
          A list of nodes; for an attribute, all in this file that are written
          the same.
        """
        if not isinstance(target, cst.Name):
            self.asked_read.add(f".{target.attr.value}")
            return self._attribute_loads.get(dotted(target), [])
        scope = self._scope_of_binding(target)
        if not isinstance(scope, metadata.FunctionScope):
            self.asked_read |= {target.value, f".{target.value}"}
        loads = [
            root(access.node)
            for assignment in scope[target.value]
            for access in assignment.references
        ]
        loads = sorted(set(loads), key=self._order.__getitem__)
        return [load for load in loads if self._reaches(target, load, scope)]

    def _reaches(self, target, load, scope):
        """Whether a name still has the value of one assignment where it is read."""
        others = [
            node
            for node in self._bound_in(scope, target.value)
            if node is not target and node not in self.ancestors(target)
        ]
        if not others or self.scope(load) is not scope:
            return True
        order = self._order
        if order[target] > order[load]:
            # It is read later where both stand in one loop.
            return any(
                isinstance(node, (cst.For, cst.While))
                and node in self.ancestors(target)
                for node in self.ancestors(load)
            )
        around = set(self.ancestors(load))
        return not any(
            self.block(node) in around
            for node in others
            if order[target] < order[node] < order[load]
            # `opt = wrap(opt)` reads what was before.
            and not any(
                isinstance(above, cst.Assign) and above in around
                for above in self.ancestors(node)
            )
        )

    def attribute_loads(self, name):
        """Returns the places where an attribute of some name is read, of whatever."""
        self.asked_read.add(f".{name}")
        return [
            node
            for node in self.of_kind(cst.Attribute)
            if node.attr.value == name and self.is_load(node)
        ]

    def assigns(self, attribute):
        """Whether the file binds an attribute itself, as it is written."""
        if not isinstance(attribute, cst.Attribute):
            return False
        self.asked_read.add(f".{attribute.attr.value}")
        name = dotted(attribute)
        return any(
            not self.is_load(node) and dotted(node) == name
            for node in self.of_kind(cst.Attribute)
            if node.attr.value == attribute.attr.value
            and not isinstance(self.parent(node), cst.ImportAlias)
        )

    def bindings_of(self, name):
        """Returns the nodes that bind what a name reads, where this file does."""
        scope = self.scope(name)
        return [] if scope is None else self._bound_in(scope, name.value)

    def _bound_in(self, scope, name):
        return [each.node for each in self._assignments(scope, name) if _is_local(each)]

    def _assignments(self, scope, name):
        """What binds a name, seen from a scope."""
        found = scope[name]
        if not any(isinstance(each.scope, metadata.FunctionScope) for each in found):
            self.asked_bound.add(name)
        return found

    def definitions(self, name, kind):
        """Returns the functions or classes of this file that a name may mean."""
        if not isinstance(name, cst.Name):
            return []
        found = self.bindings_of(name)
        return found if all(isinstance(each, kind) for each in found) else []

    def is_global(self, target):
        """Whether a name is one of the module."""
        return isinstance(self._scope_of_binding(target), metadata.GlobalScope)

    def is_of_class(self, target):
        """Whether a name is bound in the body of a class, as its attribute."""
        return isinstance(self._scope_of_binding(target), metadata.ClassScope)

    def is_import(self, node):
        """Whether a name stands in an import, as what that binds."""
        return isinstance(self.parent(node), (cst.ImportAlias, cst.AsName))

    def _scope_of_binding(self, target):
        # The names in an import have no scope of their own.
        nodes = (target, *self.ancestors(target))
        return next(scope for node in nodes if (scope := self.scope(node)))

    def may_be_class(self, node):
        """Whether the last part of a name could be that of an RMSProp class."""
        last = node.attr.value if isinstance(node, cst.Attribute) else node.value
        return last in self._class_names

    def may_be_named(self, node, wanted):
        """Whether a dotted expression may end in one of some names, imports followed.

        What `qualified` would say costs a hundred times as much.
        """
        if isinstance(node, cst.Attribute):
            return node.attr.value in wanted
        return isinstance(node, cst.Name) and (
            node.value in wanted
            or not self._renamed.get(node.value, frozenset()).isdisjoint(wanted)
        )

    @functools.cached_property
    def _class_names(self):
        return names.CLASS_NAMES.union(
            new for new, old in self._renamed.items() if old & names.CLASS_NAMES
        )

    @functools.cached_property
    def _renamed(self):
        """The last parts of imported names by the names that they were given."""
        renamed = {}
        for alias in self.of_kind(cst.ImportAlias):
            if alias.evaluated_alias:
                last = alias.evaluated_name.split(".")[-1]
                renamed.setdefault(alias.evaluated_alias, set()).add(last)
        return renamed

    def values_of(self, name):
        """Returns the expressions assigned to what a name reads, where seen."""
        statements = [
            self.parent(self.parent(assignment.node))
            for assignment in self._assignments(self.scope(name), name.value)
            if _is_local(assignment)
            and isinstance(self.parent(assignment.node), cst.AssignTarget)
        ]
        return [statement.value for statement in statements]

    def values_of_attribute(self, attribute):
        """Returns the expressions assigned to what is written as an attribute is."""
        name = dotted(attribute)
        self.asked_read.add(f".{attribute.attr.value}")
        return [
            node.value
            for node in self.of_kind(cst.Assign, cst.AnnAssign)
            if node.value is not None
            and any(dotted(each) == name for each in _targets_of(node))
        ]

    @functools.cached_property
    def _order(self):
        return {node: index for index, node in enumerate(self.nodes)}

    @property
    def imports(self):
        """All `import` and `from` nodes."""
        return self.of_kind(cst.Import, cst.ImportFrom)

    def imports_of(self, name):
        """Returns the `import` and `from` nodes that bind a name."""
        scope = self.scope(name)
        return [
            each.node
            for each in (self._assignments(scope, name.value) if scope else ())
            if isinstance(each, metadata.ImportAssignment)
        ]

    def roots_of(self, node):
        """Returns the first parts of the modules that an import names."""
        return {dotted(module).partition(".")[0] for module in _modules_of(node)}

    @functools.cached_property
    def imported_roots(self):
        """The first parts of the names of all modules that the file imports."""
        return set().union(*map(self.roots_of, self.imports))

    @property
    def imports_keras(self):
        return bool(self.imported_roots & names.ROOTS)

    @functools.cached_property
    def star_imports(self):
        """The modules of TensorFlow and Keras that the file star-imports."""
        return {
            dotted(node.module)
            for node in self.of_kind(cst.ImportFrom)
            if isinstance(node.names, cst.ImportStar)
            and node.module is not None
            and not node.relative
            and dotted(node.module).split(".")[0] in names.ROOTS
        }

    def is_quoted(self, name):
        """Whether a name is a string literal, or a word in a line that is no Python."""
        self.asked_read.add(f'"{name}')
        return self.is_in_no_python(name) or any(
            is_string(node, name) for node in self.of_kind(cst.SimpleString)
        )

    def lookup(self, name):
        """Returns where a name or attribute is looked up by a string, or None."""
        self.asked_read.add(f'"{name}')
        for string in self.of_kind(cst.SimpleString):
            if is_string(string, name):
                parent = self.parent(string)
                node = self.parent(self.parent(parent))
                match parent:
                    case cst.Arg():
                        call = self.parent(parent)
                        if isinstance(call, cst.Call) and self.may_be_named(
                            call.func, _LOOKUPS
                        ):
                            return call
                    case cst.Index() if isinstance(node, cst.Subscript):
                        mapping = node.value
                        if isinstance(mapping, cst.Call):
                            mapping = mapping.func
                        if self.may_be_named(mapping, _NAMESPACES):
                            return node
        return None

    def is_in_no_python(self, name):
        """Whether a name is a word in a magic or another line that is no Python."""
        return re.search(rf"\b{name}\b", self._program.no_python) is not None

    @functools.cached_property
    def _attribute_loads(self):
        loads = {}
        for node in self.of_kind(cst.Attribute):
            if self.is_load(node):
                loads.setdefault(dotted(node), []).append(node)
        return loads

    def _qualified(self, node, seen):
        name, scope = dotted(node), self.scope(node)
        if name is None or scope is None:
            return set()
        first, _, rest = name.partition(".")
        found = {
            each.name
            for each in scope.get_qualified_names_for(name)
            if each.source is metadata.QualifiedNameSource.IMPORT
        }
        for assignment in self._assignments(scope, first):
            if _is_local(assignment) and assignment not in seen:
                modules = self._module_alias(assignment, seen | {assignment})
                found |= {f"{module}.{rest}" for module in modules or {"<local>"}}
        return found

    def _module_alias(self, assignment, seen):
        """The modules that `name = tf.keras` and the like bind `name` to."""
        target = self.parent(assignment.node)
        statement = self.parent(target)
        if not isinstance(target, cst.AssignTarget) or len(statement.targets) > 1:
            return set()
        return set(filter(names.is_namespace, self._qualified(statement.value, seen)))


def _targets_of(node):
    if isinstance(node, cst.AnnAssign):
        return [node.target]
    return [each.target for each in node.targets]


def _one_line(code):
    return " ".join(code.split())


def _is_local(assignment):
    """Whether the file itself binds the name, other than by an import."""
    return isinstance(assignment, metadata.Assignment) and not isinstance(
        assignment, metadata.ImportAssignment
    )


def _modules_of(node):
    if isinstance(node, cst.Import):
        return [alias.name for alias in node.names]
    return [] if node.relative else [node.module]
