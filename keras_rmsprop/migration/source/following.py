"""Where an optimizer goes from its construction, as far as a file shows."""

import dataclasses

import libcst as cst

from keras_rmsprop.migration.source import inheritance, source_file, tree


class Unclear(Exception):
    """What reads an optimizer elsewhere cannot be known; the message says why."""


@dataclasses.dataclass(frozen=True)
class End:
    """An expression that gives the optimizer, where it is put to use.

    Attributes:
      file: the `SourceFile` in which that is.
      node: the expression.
      origin: the expression that makes the object anew whenever it is evaluated: the
        construction, or the call of this file's function that constructs it.
      site: where that happens, seen from the construction: the call of this file's
        function in which `node` is, else `node` itself.
    """

    file: source_file.SourceFile
    node: cst.CSTNode
    origin: cst.CSTNode
    site: cst.CSTNode


@dataclasses.dataclass(frozen=True)
class Unread:
    """A place in which the optimizer is kept and that others may read unseen.

    Attributes:
      file: the `SourceFile` in which that is.
      target: what was assigned to: an attribute or a global name.
      reason: why others may.
    """

    file: source_file.SourceFile
    target: cst.CSTNode
    reason: str


def follow(file, value):
    """Returns what becomes of the object that an expression gives.

    It is followed through names and attributes of this file, tuples that are taken
    apart, conditional expressions, and the functions of this file that get or return
    it.

    Args:
      file: the `SourceFile`.
      value: the expression, the constructor call for one.

    Returns:
      A list of `End`; empty where it is dropped.
    """
    return list(dict.fromkeys(_Search(beyond=False).of(file, value)))


def follow_beyond(file, value):
    """Does what `follow` does, and looks for what else may read the object.

    It is followed into other files, where there is a project, and an attribute is
    taken for read wherever one has its name.

    Yields:
      `End`s and `Unread`s; some may come twice.
    """
    return _Search(beyond=True).of(file, value)


class _Search:
    """One search for what becomes of an object.

    Args:
      beyond: whether to look into other files too.
    """

    def __init__(self, beyond):
        self._beyond = beyond
        self._seen = set()

    def of(self, file, value):
        return self._follow(file, value, value, None)

    def _follow(self, file, value, origin, site):
        if (value, origin, site) in self._seen:
            return
        self._seen.add((value, origin, site))
        parent = file.parent(value)
        match parent:
            case cst.Expr() | cst.If() | cst.While() | cst.Comparison():
                return
            case cst.IfExp() | cst.BooleanOperation():
                if isinstance(parent, cst.IfExp) and parent.test is value:
                    return
                yield from self._follow(file, parent, origin, site)
                return
            case cst.Return():
                function = file.function_around(parent)
                calls, are_all = self._calls_of(file, function)
                made_inside = function in file.ancestors(origin)
                for where, call in calls:
                    made = call if made_inside else origin
                    yield from self._follow(where, call, made, site)
                if are_all:
                    return
            case cst.Arg():
                given = parameter(file, parent)
                if given is not None:
                    for load in file.loads_of(given.name):
                        yield from self._follow(file, load, origin, site or value)
                    return
            case cst.Param():
                made = file.function_around(parent) or origin  # Once, by its `def`.
                for load in file.loads_of(parent.name):
                    yield from self._follow(file, load, made, site)
                return
            case cst.NamedExpr():
                yield from self._follow(file, parent, origin, site)
        targets = _targets(file, value)
        if not targets or any(tree.dotted(each) is None for each in targets):
            yield End(file, value, origin, site or value)
            return
        for target in targets:
            yield from self._follow_target(file, target, origin, site)

    def _calls_of(self, file, function):
        """The calls of a function, with their files, and whether these are all."""
        if function.decorators or file.is_method(function):
            return [], False
        calls, are_all = [], True
        seen, pending = set(), [(file, function.name)]
        while pending:
            where, name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            loads = [(where, load) for load in where.loads_of(name)]
            if self._beyond and where.elsewhere is not None and where.is_global(name):
                try:
                    loads += list(where.elsewhere.reads(where, name))
                except Unclear:
                    are_all = False
            for there, load in loads:
                call = there.parent(load)
                if there.is_import(load):
                    pending.append((there, load))
                elif isinstance(call, cst.Call) and call.func is load:
                    calls.append((there, call))
                else:
                    are_all = False
        return calls, are_all and bool(calls)

    def _follow_target(self, file, target, origin, site):
        if (target, origin, site) in self._seen:
            return
        self._seen.add((target, origin, site))
        kept = _is_attribute(file, target) or file.is_global(target)
        reason = self._beyond and kept and _outside(file, target)
        if reason:
            yield Unread(file, target, reason)
        is_read = False
        try:
            for where, load in self._loads(file, target, kept):
                is_read = True
                site_there = site if where is file else None
                if where.is_import(load):
                    yield from self._follow_target(where, load, origin, site_there)
                else:
                    yield from self._follow(where, load, origin, site_there)
        except Unclear as error:
            yield Unread(file, target, str(error))
            return
        if self._beyond and kept and not is_read:
            where = "this file" if file.elsewhere is None else "the project"
            yield Unread(file, target, f"which {where} never reads")

    def _loads(self, file, target, kept):
        """Yields what reads a target, with the files; those that take longest last."""
        loads = file.loads_of(target)
        if file.is_of_class(target):
            loads = loads + _loads_by_self(file, target)
        yield from ((file, load) for load in loads)
        if self._beyond and _is_attribute(file, target):
            for load in file.attribute_loads(tree.last(target)):
                # A class's own attribute was looked for.
                if load not in loads and tree.dotted(load.value) != "self":
                    yield file, load
        if self._beyond and kept and file.elsewhere is not None:
            yield from file.elsewhere.reads(file, target)


def _is_attribute(file, target):
    return isinstance(target, cst.Attribute) or file.is_of_class(target)


def _loads_by_self(file, target):
    """Where a class's attribute is read by what are surely its objects."""
    names = ("self", "cls", inheritance.class_around(file, target).name.value)
    loads = file.attribute_loads(target.value)
    return [each for each in loads if tree.dotted(each.value) in names]


def _targets(file, value):
    """What the value is assigned to; None where it is not."""
    parent = file.parent(value)
    match parent:
        case cst.Assign():
            return [each.target for each in parent.targets]
        case cst.AnnAssign() | cst.NamedExpr():
            return [parent.target]
        case cst.Element():
            display = file.parent(parent)
            statement = file.parent(display)
            if not isinstance(statement, cst.Assign):
                return None
            index = next(i for i, e in enumerate(display.elements) if e is parent)
            targets = [each.target for each in statement.targets]
            taken_apart = all(
                isinstance(target, (cst.Tuple, cst.List))
                and len(target.elements) == len(display.elements)
                and all(isinstance(each, cst.Element) for each in target.elements)
                for target in targets
            )
            if taken_apart:
                return [target.elements[index].value for target in targets]
    return None


def _outside(file, target):
    """Why code that cannot be seen may read what was assigned, or None."""
    owner = inheritance.owner(file, target)
    if owner is not None:
        base = inheritance.foreign_base(file, owner)
        if base:
            return f"whose class has the base `{base}`"
    name = tree.last(target)
    if file.is_in_no_python(name):
        return "which a line that is no Python names"
    lookup = file.lookup(name)
    if lookup is not None:
        return f"which {file.place(lookup)} looks up by its name"
    return None


def parameters(function):
    """Returns the parameters of a function that arguments are given to one by one."""
    found = function.params
    return [*found.posonly_params, *found.params, *found.kwonly_params]


def parameter(file, argument):
    """Returns the parameter of this file's function that gets an argument, or None."""
    call = file.parent(argument)
    if not isinstance(call, cst.Call) or argument.star:
        return None
    functions = file.definitions(call.func, cst.FunctionDef)
    if len(functions) != 1 or functions[0].decorators:
        return None
    [function] = functions
    if argument.keyword is None:
        by_position = [*function.params.posonly_params, *function.params.params]
        before = call.args[: next(i for i, a in enumerate(call.args) if a is argument)]
        if any(each.star for each in before) or len(before) >= len(by_position):
            return None
        return by_position[len(before)]
    by_name = function.params.params + function.params.kwonly_params
    name = argument.keyword.value
    return next((each for each in by_name if each.name.value == name), None)
