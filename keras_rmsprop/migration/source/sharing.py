"""Whether one optimizer serves several models, which those of stock Keras 3 do not."""

import re

import libcst as cst

from keras_rmsprop.migration.source import following, tree, uses

_OF_A_MODEL = re.compile(r"\.(trainable_)?(variables|weights)$")
_BUILDER = re.compile(r"build|make|create|compile|model|network|gan\b|critic|generator")
_COLLECTIONS = (cst.BaseElement, cst.BaseDictElement)
_LOOPS = (cst.For, cst.While, cst.ListComp, cst.DictComp, cst.GeneratorExp, cst.SetComp)


def shared(file, call, follow=following.follow):
    """Returns why an optimizer of stock Keras 3 will not do, or None.

    Args:
      file: the `SourceFile`.
      call: the constructor call.
      follow: `following.follow` or `following.follow_beyond`.
    """
    found = []
    for use in follow(file, call):
        if isinstance(use, following.Unread):
            continue
        where = use.file
        served = _served(where, use)
        if served is None:
            if isinstance(where.parent(use.node), _COLLECTIONS):
                return _advice(f"is put into a collection in {where.place(use.node)}")
            continue
        if _is_repeated(use, served):
            return _advice(f"serves several models in {where.place(use.site)}")
        for other, model in found:
            same = other.origin is use.origin and not _exclude(other, use)
            if same and model.differs(served):
                places = f"{other.file.place(other.site)} and {where.place(use.site)}"
                return _advice(f"serves several models, in {places}")
        found.append((use, served))
    return None


def is_in_loop(file, node, outer):
    """Whether a loop or another function stands between a node and one around it."""
    for above in file.ancestors(node):
        if above is outer:
            return False
        if isinstance(above, (*_LOOPS, cst.Lambda, cst.FunctionDef)):
            return True
    return False


def _advice(what):
    return (
        f"the optimizer {what}, and one of stock Keras 3 serves a single model: "
        "construct one for each, or take `keras_rmsprop.RMSprop`, the default target"
    )


class _Served:
    """What an optimizer is applied to.

    Args:
      text: the model, or the variables, as the code writes them.
      root: the first name of that, or what stands in its place.
      is_applied: whether the optimizer is told the variables at every step. Otherwise
        it gets its model for good, so that two such uses are two models.
    """

    def __init__(self, text, root, is_applied=False):
        self.text = text
        self.root = root
        self.is_applied = is_applied

    def differs(self, other):
        both_compiled = not (self.is_applied or other.is_applied)
        return both_compiled or self.text != other.text


def _served(file, use):
    """Returns a `_Served`, or None for a use that trains nothing."""
    compilation = uses.compilation(file, use.node)
    if compilation is not None:
        model = compilation.func.value
        return _Served(file.code(model), tree.root(model))
    parent = file.parent(use.node)
    call = file.parent(parent)
    if not isinstance(call, cst.Call):
        return None
    if isinstance(parent, cst.Attribute):
        if parent.attr.value != "apply_gradients" or not call.args:
            return None
        variables = call.args[0].value
        match variables:
            case cst.Call(func=cst.Name(value="zip"), args=[_, argument]):
                variables = argument.value
        root = tree.root(variables)
        text = _OF_A_MODEL.sub("", file.code(variables))
        if use.site is not use.node:
            given = _given(file, use.site, root)
            text = text.replace(file.code(root), given, 1) if given else text
        return _Served(text, root, is_applied=True)
    name = tree.dotted(call.func)
    if name and _BUILDER.search(name.split(".")[-1].lower()):
        return _Served(file.code(call), call)
    return None


def _given(file, site, name):
    """The code of what a call gives for the parameter of its function, or None."""
    call = file.parent(file.parent(site))
    [function] = file.definitions(call.func, cst.FunctionDef)
    for index, parameter in enumerate(function.params.params):
        if parameter.name.value == file.code(name):
            for place, argument in enumerate(call.args):
                keyword = argument.keyword and argument.keyword.value
                if keyword == parameter.name.value or (not keyword and place == index):
                    return file.code(argument.value)
    return None


def _is_repeated(use, served):
    """Whether a use takes place several times, with several models, for one object."""
    around = set(use.file.ancestors(use.origin))
    for node in use.file.ancestors(use.site):
        if node in around:
            return False
        if isinstance(node, _LOOPS) and _is_bound_in(
            use.file, served.root, node, only_by_loop=served.is_applied
        ):
            return True
        if (
            isinstance(node, cst.FunctionDef)
            and use.site is use.node
            and not served.is_applied
            and _is_bound_in(use.file, served.root, node)
            and _is_called_repeatedly(use.file, node)
        ):
            return True
    return False


def _is_bound_in(file, name, node, only_by_loop=False):
    """Whether something gets its value inside a loop or function, so at every turn."""
    if not isinstance(name, cst.Name):
        return not only_by_loop
    if name.value == "self":
        return False
    for bound in file.bindings_of(name):
        above = [bound, *file.ancestors(bound)]
        if node in above and (
            not only_by_loop or getattr(node, "target", None) in above
        ):
            return True
    return False


def _is_called_repeatedly(file, function):
    if file.is_method(function):
        file.asked_read.add(f".{function.name.value}")
        loads = [
            node
            for node in file.of_kind(cst.Attribute)
            if node.attr.value == function.name.value and file.is_load(node)
        ]
    else:
        loads = file.loads_of(function.name)
    if len(loads) > 1:
        return True
    return any(
        not isinstance(file.parent(load), cst.Call)
        or file.parent(load).func is not load
        or any(isinstance(node, _LOOPS) for node in file.ancestors(load))
        for load in loads
    )


def _exclude(one, other):
    """Whether only one of two uses takes place in any program."""
    file = one.file
    if other.file is not file:
        return not file.elsewhere.meet(file, other.file)
    above = {node: child for child, node in file.steps_up(one.site)}
    for child, node in file.steps_up(other.site):
        if node in above:
            is_branching = isinstance(node, (cst.If, cst.IfExp, cst.Try))
            return is_branching and child is not above[node]
    return False
