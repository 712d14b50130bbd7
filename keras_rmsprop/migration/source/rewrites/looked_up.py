"""Classes reached by a way that the file does not show."""

import re

import libcst as cst

from keras_rmsprop.migration.source import names, rewrites, tree

_OURS = ("keras_rmsprop.", "compat_v1.")
_ENDINGS = ("train.RMSPropOptimizer", "optimizers.RMSprop", "legacy.RMSprop")
_CODE = re.compile(r"\bRMSprop\s*\(|\bRMSPropOptimizer\b")


@rewrites.handles(cst.Call)
def by_function(call, file):
    """`getattr(tf.train, name)` and `eval("tf.train.RMSPropOptimizer")`."""
    function = tree.dotted(call.func)
    if function == "getattr" and len(call.args) > 1:
        _look(call, call.args[0].value, call.args[1].value, file)
    if function in ("eval", "exec") and call.args:
        code = tree.literal(call.args[0].value)
        if isinstance(code, str) and _CODE.search(code):
            file.leave(call, f"`{file.code(call)}` runs code that names RMSProp")


@rewrites.handles(cst.Subscript)
def by_dictionary(subscript, file):
    """`tf.train.__dict__[name]` and `vars(tf.train)[name]`."""
    match subscript.value:
        case cst.Attribute(value=module, attr=cst.Name(value="__dict__")):
            pass
        case cst.Call(func=cst.Name(value="vars"), args=[cst.Arg(value=module)]):
            pass
        case _:
            return
    match subscript.slice:
        case [cst.SubscriptElement(slice=cst.Index(value=name))]:
            _look(subscript, module, name, file)


def _look(node, module, name, file):
    if not file.qualified(module) & names.OPTIMIZER_MODULES:
        return
    name = tree.literal(name)
    if name is ... or name in names.CLASS_NAMES:
        file.leave(node, f"`{file.code(node)}` may look up RMSProp by its name")


@rewrites.handles(cst.Name)
def unbound(node, file):
    """`RMSprop` after `from keras.optimizers import *`, or from nowhere."""
    if node.value not in names.CLASS_NAMES or not file.is_load(node):
        return
    scope = file.scope(node)
    if scope is None or scope[node.value]:
        return
    file.asked_bound.add(node.value)
    if file.star_imports:
        file.leave(node, f"`{node.value}` seems to come from a star import")
    elif file.imports_keras and node.value != "rmsprop":
        file.leave(node, f"what `{node.value}` is cannot be seen in this file")


@rewrites.handles(cst.Name)
@rewrites.handles(cst.Attribute)
def unknown(node, file):
    """What is called RMSProp and comes from TensorFlow, Keras or nowhere known."""
    if not file.may_be_class(node) or not file.is_load(node):
        return
    found = file.qualified(node)
    if any(names.era_of(each) or each.startswith(_OURS) for each in found):
        return
    name = tree.dotted(node)
    if any(names.is_foreign(each) for each in found):
        if not isinstance(file.parent(node), cst.Attribute):
            what = "is an RMSProp that is not known here"
            if any(map(names.is_of_contrib, found)):
                what = (
                    "starts its mean square at epsilon and then adds none, as no class "
                    "does that is still there"
                )
            file.leave(node, f"`{name}` {what}")
    elif isinstance(node, cst.Attribute) and name and name.endswith(_ENDINGS):
        file.leave(node, f"what `{name}` is cannot be seen in this file")
