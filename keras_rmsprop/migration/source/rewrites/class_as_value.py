"""The class itself, where it is anything but called."""

import libcst as cst

from keras_rmsprop.migration.source import findings, imports, names, rewrites
from keras_rmsprop.migration.source.source_file import Undecided

# Classes of this library that are the same in every respect, so that they can stand
# wherever the old one stood.
_SAME = {
    names.TF1: ("compat_v1.train", "compat_v1.train.RMSPropOptimizer"),
    names.OPTIMIZER_V1: (
        "compat_v1.keras.optimizer_v1",
        "compat_v1.keras.optimizer_v1.RMSprop",
    ),
}


@rewrites.handles(cst.Name)
@rewrites.handles(cst.Attribute)
def rewrite(node, file):
    if not file.may_be_class(node) or not file.is_load(node):
        return
    parent = file.parent(node)
    if isinstance(parent, cst.Call) and parent.func is node:
        return
    if isinstance(parent, cst.Attribute) and _is_class(parent, file):
        return  # A module with the class's name in lower case.
    try:
        era = file.era(node)
        if era and not _replace(node, era, file):
            use = _use(parent, file)
            advice = _advice(node, era, file)
            raise Undecided(f"the class `{file.code(node)}` {use}{advice}")
    except Undecided as reason:
        file.leave(node, str(reason))


def _replace(node, era, file):
    """Plans the class that is the same, where there is one; returns whether."""
    if file.options.to != "compat" or era not in _SAME:
        return False
    if not _takes_public_api_only(node, file):
        return False
    module, expression = _SAME[era]
    imports.plan(file, module, node)
    file.callees.append(node)
    file.edits[node] = lambda _: cst.parse_expression(expression)
    what = f"`{file.code(node)}` to `{expression}`"
    file.report(node, findings.REWRITTEN, what)
    return True


def _takes_public_api_only(node, file):
    """Whether a subclass, if this is its base, keeps off what is private."""
    argument = file.parent(node)
    subclass = file.parent(argument)
    if not isinstance(argument, cst.Arg) or not isinstance(subclass, cst.ClassDef):
        return True
    return not any(
        name.startswith("_") and not name.endswith("__")
        for name in file.names_in(subclass.body)
    )


def _advice(node, era, file):
    if era not in _SAME:
        return ""
    if not _takes_public_api_only(node, file):
        return ", by what is private: no class here has that"
    return ": `--to compat` has the same class"


def _is_class(node, file):
    return any(names.era_of(name) for name in file.qualified(node))


def _use(parent, file):
    if isinstance(parent, cst.Attribute):
        return f"is used by its attribute `{parent.attr.value}`"
    if isinstance(parent, cst.Arg) and isinstance(file.parent(parent), cst.ClassDef):
        return "is subclassed"
    if isinstance(parent, cst.Annotation):
        return "is used as an annotation"
    return "is used as a value"
