"""`model.compile(optimizer="rmsprop")`, and what else gives an optimizer by a name."""

import sys

import libcst as cst

from keras_rmsprop.migration.source import (
    construction,
    following,
    names,
    rewrites,
    sharing,
    uses,
)
from keras_rmsprop.migration.source.source_file import Undecided
from keras_rmsprop.migration.source.tree import is_rmsprop, literal

_STOCK = "keras.optimizers.RMSprop"
_MAKERS = ("optimizers.get", "optimizers.deserialize")
_MAKER_NAMES = ("get", "deserialize")


@rewrites.handles(cst.Call)
def compiled(call, file):
    """`compile("rmsprop" if x else "adam")`, `compile(**{"optimizer": "rmsprop"})`."""
    optimizer = _compiled(call, file)
    if optimizer is None:
        return
    for node in _choices(optimizer, call, file):
        stock = _stock(node, file)
        if stock is not None:
            _rewrite(node, stock, file)


@rewrites.handles(cst.Call)
def made(call, file):
    """`keras.optimizers.get("rmsprop")` and `keras.optimizers.deserialize({...})`."""
    if not file.may_be_named(call.func, _MAKER_NAMES):
        return
    found = file.qualified(call.func)
    roots = {name.split(".")[0] for name in found}
    if roots & names.ROOTS and any(name.endswith(_MAKERS) for name in found):
        stock = _stock(call.args[0].value, file) if len(call.args) == 1 else None
        if stock is not None:
            _rewrite(call, stock, file)


@rewrites.handles(cst.Call)
def passed(call, file):
    """`build("rmsprop")`, where `build` gives it to one `compile` and nothing else.

    The default of a parameter is another thing: an object there serves all calls.
    """
    for argument in call.args:
        if isinstance(argument.value, cst.Name):
            continue
        found = [
            (node, _stock(node, file)) for node in _choices(argument.value, call, file)
        ]
        found = [(node, stock) for node, stock in found if stock is not None]
        if found and _reaches_one_compile(argument, file):
            for node, stock in found:
                _rewrite(node, stock, file)


def _rewrite(node, stock, file):
    try:
        if not file.imports_keras:
            raise Undecided(
                "whether this compiles a Keras model cannot be seen: "
                "the file imports neither Keras nor TensorFlow"
            )
        if "tf_keras" in file.imported_roots:
            spelled = names.TF_KERAS
        else:
            spelled = names.AMBIGUOUS
        construction.rewrite(file, node, stock, spelled)
    except Undecided as reason:
        file.leave(node, str(reason))


def _compiled(call, file):
    """The optimizer that a call compiles a model with, or None."""
    optimizer = uses.expression_of_compile(call)
    if optimizer is None:
        return None
    roots = {name.split(".")[0] for name in file.qualified(call.func)}
    if roots & sys.stdlib_module_names:
        return None  # re.compile("rmsprop")
    return optimizer


def _choices(node, call, file):
    """The expressions of which one becomes what an expression gives."""
    for arm in _arms(node):
        if not isinstance(arm, cst.Name):
            yield arm
            continue
        # An object in the place of a string must be made as often as it is used.
        for value in file.values_of(arm):
            target = file.parent(value).targets[0].target
            same_block = file.block(value) is file.block(call)
            if same_block and file.loads_of(target) == [arm]:
                yield from _choices(value, call, file)


def _arms(node):
    match node:
        case cst.IfExp():
            return [*_arms(node.body), *_arms(node.orelse)]
        case cst.BooleanOperation():
            return [*_arms(node.left), *_arms(node.right)]
    return [node]


def _reaches_one_compile(argument, file):
    """Whether an argument of this file's function is the optimizer of one `compile`."""
    parameter = following.parameter(file, argument)
    loads = [] if parameter is None else file.loads_of(parameter.name)
    if len(loads) != 1 or file.bindings_of(loads[0]) != [parameter]:
        return False
    [load] = loads
    function = file.function_around(parameter)
    return any(
        load in _arms(_compiled(call, file))
        and not sharing.is_in_loop(file, call, function)
        for call in file.ancestors(load)
        if isinstance(call, cst.Call)
    )


def _stock(node, file):
    """The call that says what a string or a configuration says, or None."""
    if is_rmsprop(node):
        return cst.parse_expression(f"{_STOCK}()")
    members = _members(node)
    if members is None or not is_rmsprop(members.get("class_name")):
        return None
    arguments = _members(members["config"]) if "config" in members else {}
    if arguments is None:
        return None
    given = ", ".join(f"{name}={file.code(value)}" for name, value in arguments.items())
    return cst.parse_expression(f"{_STOCK}({given})")


def _members(node):
    """The values of a dict display by their literal keys, or None."""
    if not isinstance(node, cst.Dict):
        return None
    members = {}
    for element in node.elements:
        key = literal(element.key) if isinstance(element, cst.DictElement) else ...
        if not isinstance(key, str) or not key.isidentifier():
            return None
        members[key] = element.value
    return members
