"""Where an optimizer goes from its construction, as far as a file shows."""

import dataclasses

import libcst as cst

from keras_rmsprop.migration.source import tree


@dataclasses.dataclass(frozen=True)
class End:
    """An expression that gives the optimizer, where it is put to use.

    Attributes:
      node: the expression.
      site: where that happens, seen from the construction: the call of this file's
        function in which `node` is, else `node` itself.
    """

    node: cst.CSTNode
    site: cst.CSTNode


@dataclasses.dataclass(frozen=True)
class Unread:
    """A place in which the optimizer is kept and that others than this file may read.

    Attributes:
      target: what was assigned to: an attribute or a global name.
      reason: why others may.
    """

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
      A list of `End` and `Unread`; empty where it is dropped.
    """
    return list(dict.fromkeys(_follow(file, value, None, frozenset())))


def _follow(file, value, site, seen):
    if value in seen:
        return
    seen = seen | {value}
    parent = file.parent(value)
    match parent:
        case cst.Expr() | cst.If() | cst.While() | cst.Comparison():
            return
        case cst.IfExp() | cst.BooleanOperation():
            if isinstance(parent, cst.IfExp) and parent.test is value:
                return
            yield from _follow(file, parent, site, seen)
            return
        case cst.Return():
            calls = list(_calls_of(file, parent))
            for call in calls:
                yield from _follow(file, call, site, seen)
            if calls:
                return
        case cst.Arg():
            parameter = _parameter(file, parent)
            if parameter is not None:
                for load in file.loads_of(parameter.name):
                    yield from _follow(file, load, site or value, seen)
                return
        case cst.NamedExpr():
            yield from _follow(file, parent, site, seen)
    targets = _targets(file, value)
    if not targets or any(tree.dotted(each) is None for each in targets):
        yield End(value, site or value)
        return
    for target in targets:
        loads = file.loads_of(target)
        reason = _outside(file, target, loads)
        if reason:
            yield Unread(target, reason)
        for load in loads:
            yield from _follow(file, load, site, seen)


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


def _outside(file, target, loads):
    """Why code outside this file may read what was assigned, or None."""
    if isinstance(target, cst.Attribute):
        base = _foreign_base(file, target)
        if base:
            return f"whose class has the base `{base}`"
        return None if loads else "which this file never reads"
    if not loads and file.is_global(target):
        return "which this file never reads"
    return None


def _foreign_base(file, target):
    """A base, not of this file, of the class around an attribute of `self`."""
    node = target
    while node is not None and not isinstance(node, cst.ClassDef):
        node = file.parent(node)
    if node is None or tree.dotted(target.value) != "self":
        return None
    for base in node.bases:
        name = tree.dotted(base.value)
        if name != "object" and not file.definitions(base.value, cst.ClassDef):
            return file.code(base.value)
    return None


def _calls_of(file, statement):
    """The calls, in this file, of the function that a `return` belongs to."""
    function = file.function_around(statement)
    # What a method or a decorated function returns may be called from anywhere.
    if function is None or function.decorators or file.is_method(function):
        return
    for load in file.loads_of(function.name):
        call = file.parent(load)
        if isinstance(call, cst.Call) and call.func is load:
            yield call


def _parameter(file, argument):
    """The parameter of this file's function that an argument is given to, or None."""
    call = file.parent(argument)
    if not isinstance(call, cst.Call) or argument.star:
        return None
    functions = file.definitions(call.func, cst.FunctionDef)
    if len(functions) != 1 or functions[0].decorators:
        return None
    parameters = functions[0].params
    named = [*parameters.posonly_params, *parameters.params]
    if argument.keyword is None:
        before = call.args[: next(i for i, a in enumerate(call.args) if a is argument)]
        if any(each.star for each in before) or len(before) >= len(named):
            return None
        return named[len(before)]
    everything = [*named, *parameters.kwonly_params]
    name = argument.keyword.value
    return next((each for each in everything if each.name.value == name), None)
