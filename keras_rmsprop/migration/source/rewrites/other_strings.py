"""The string "rmsprop" where an optimizer is named and nothing else is known of it."""

import re

import libcst as cst

from keras_rmsprop.migration.source import names, rewrites, tree
from keras_rmsprop.migration.source.tree import is_rmsprop

_ONLY_TEXT = re.compile(
    r"compile|match|search|print|format|debug|info|warning|warn|error|log|join|replace|find|startswith"
    r"|endswith|hasattr|\w*Error|\w*scope|set_title|title|label"
)
_ABBREVIATED = re.compile(r"^tf\.")
_OF_TF1 = re.compile(r"optimize_loss|DNN\w+|Linear(Classifier|Regressor)|\w*Estimator")


@rewrites.handles(cst.SimpleString)
def paths(string, file):
    """Reports `mock.patch("tensorflow.train.RMSPropOptimizer")` and the like."""
    if not string.value.rstrip("\"'").endswith(("RMSprop", "RMSPropOptimizer")):
        return
    text = tree.literal(string)
    if isinstance(text, str) and names.era_of(_ABBREVIATED.sub("tensorflow.", text)):
        file.leave(
            string, f"the string {string.value} names a class: change it by hand"
        )


@rewrites.handles(cst.Module)
def rewrite(module, file):
    """Reports once for each meaning what no other rewrite has dealt with."""
    if not file.imports_keras:
        return
    found = {}
    for string in file.of_kind(cst.SimpleString):
        if is_rmsprop(string) and not file.is_dealt_with(string):
            meaning = _meaning(string, file)
            if meaning:
                found.setdefault(meaning, []).append(string)
    for meaning, (first, *others) in found.items():
        more = ", ".join(file.place(other) for other in others)
        more = f"; so it may in {more}" if more else ""
        file.leave(first, f"the string {first.value} {meaning}{more}")


def _meaning(string, file):
    """What a string may do where it stands, or None."""
    parent = file.parent(string)
    if "__all__" in file.names_in(file.statement(string)):
        return None
    match parent:
        case cst.Arg():
            call = file.parent(parent)
            name = isinstance(call, cst.Call) and tree.dotted(call.func)
            last = (name or "").split(".")[-1]
            if _ONLY_TEXT.fullmatch(last) or (
                parent.keyword is not None and parent.keyword.value == "name"
            ):
                return None
            if _OF_TF1.fullmatch(last):
                return (
                    "means TF1's class: give an object in its place, "
                    "`compat_v1.train.RMSPropOptimizer(...)`, to keep that"
                )
        case cst.DictElement(key=key) if key is string:
            return None
        case cst.Param(name=cst.Name(value="name")):
            return None
        case (
            cst.Assign()
            | cst.AnnAssign()
            | cst.BaseElement()
            | cst.DictElement()
            | cst.Return()
            | cst.Param()
            | cst.IfExp()
            | cst.BooleanOperation()
        ):
            pass
        case _:
            return None
    return "may reach Keras as an optimizer from here"
