"""Whether what becomes of an optimizer allows it to become another one."""

import itertools
import re

import libcst as cst

from keras_rmsprop.migration.source import tree
from keras_rmsprop.migration.source.following import (
    End,
    Unread,
    follow,
    follow_beyond,
)

# What OptimizerV2 offers and Keras 3 does not.
_LEGACY_ONLY = frozenset(
    [
        "_create_all_weights",
        "_get_hyper",
        "_hyper",
        "_set_hyper",
        "add_slot",
        "add_weight",
        "decay",
        "get_gradients",
        "get_slot",
        "get_slot_names",
        "get_updates",
        "get_weights",
        "gradient_aggregator",
        "gradient_transformers",
        "lr",
        "minimize",
        "weights",
    ]
)
_BY_NAME = ("getattr", "setattr", "hasattr")
# An argument and its call; or an element of a dict, that, and these two.
_DEPTH_IN_COMPILE = 4
_WRAPPER = re.compile(r"Optimizer(V2)?$|^(SWA|MovingAverage|Lookahead)$")


def tf1_only(file, call):
    """Returns why a TF1 optimizer cannot become a Keras optimizer, or None.

    Only two uses are the same in both APIs: as the optimizer of `compile`, and
    `apply_gradients(pairs)` called for its effect. Any other, and any that this
    file does not show, may need the TF1 API.

    Args:
      file: the `SourceFile`.
      call: the constructor call.
    """
    for use in follow_beyond(file, call):
        if isinstance(use, Unread):
            where = f"`{use.file.code(use.target)}`"
            return (
                f"the optimizer is kept in {where}, {use.reason}: "
                "what may read it may need the TF1 API, and only `--to compat` keeps "
                "that"
            )
        if compilation(use.file, use.node) or _is_eager_apply(use.file, use.node):
            continue
        return (
            f"the optimizer {_describe(use.file, use.node)}, "
            "which may need the TF1 API: only `--to compat` keeps that"
        )
    return None


def compiled(file, call):
    """Returns why an optimizer cannot be one of TF1's, or None.

    Args:
      file: the `SourceFile`.
      call: the constructor call.
    """
    for use in follow_beyond(file, call):
        if isinstance(use, End) and compilation(use.file, use.node):
            what = _describe(use.file, use.node)
            return (
                f"the optimizer {what}, and `compile` of Keras 3 "
                "takes no TF1 optimizer: try the default target"
            )
    return None


def legacy_only(file, call):
    """Returns why an OptimizerV2 cannot become a Keras 3 optimizer, or None.

    Args:
      file: the `SourceFile`.
      call: the constructor call.
    """
    for use in follow(file, call):
        if _needs_legacy(file, use.node):
            return (
                f"the optimizer {_describe(file, use.node)}, which Keras 3 optimizers "
                "lack: only `--to compat` keeps that"
            )
    return None


def old_get_updates(file, call):
    """Returns why the `get_updates` of Keras 1 bars every target, or None.

    Args:
      file: the `SourceFile`.
      call: the constructor call.
    """
    for use in follow(file, call):
        attribute = file.parent(use.node)
        match attribute:
            case cst.Attribute(attr=cst.Name(value="get_updates")):
                called = file.parent(attribute)
                if isinstance(called, cst.Call) and len(called.args) > 2:
                    return (
                        f"the optimizer {_describe(file, use.node)} with the arguments "
                        "of Keras 1: make it `get_updates(loss, params)`, which "
                        "`--to compat` keeps, and give constraints to the variables"
                    )
    return None


def _needs_legacy(file, value):
    parent = file.parent(value)
    if isinstance(parent, cst.Arg):
        call = file.parent(parent)
        name = isinstance(call, cst.Call) and tree.dotted(call.func)
        if name in _BY_NAME and len(call.args) > 1:
            return tree.literal(call.args[1].value) in _LEGACY_ONLY
        return bool(name) and _WRAPPER.search(name.split(".")[-1]) is not None
    if not isinstance(parent, cst.Attribute):
        return False
    if parent.attr.value in _LEGACY_ONLY:
        return True
    call = file.parent(parent)
    if not isinstance(call, cst.Call) or call.func is not parent:
        return False
    # A list in Keras 3, and a method with a single argument.
    return parent.attr.value == "variables" or (
        parent.attr.value == "apply_gradients" and len(call.args) > 1
    )


def compilation(file, value):
    """Returns the call of `something.compile` that gets an optimizer, or None."""
    for node in itertools.islice(file.ancestors(value), _DEPTH_IN_COMPILE):
        if isinstance(node, cst.Call):
            return node if expression_of_compile(node) is value else None
    return None


def optimizer_of_compile(call):
    """Returns the optimizer's argument of `something.compile(...)`, or None."""
    if not (isinstance(call.func, cst.Attribute) and call.func.attr.value == "compile"):
        return None
    for index, argument in enumerate(call.args):
        if argument.keyword is None:
            if index == 0 and not argument.star:
                return argument
        elif argument.keyword.value == "optimizer":
            return argument
    return None


def expression_of_compile(call):
    """Returns what `something.compile(...)` gets as its optimizer, or None.

    Unlike `optimizer_of_compile` it looks into `compile(**{"optimizer": ...})`.
    """
    argument = optimizer_of_compile(call)
    if argument is not None:
        return argument.value
    if isinstance(call.func, cst.Attribute) and call.func.attr.value == "compile":
        for each in call.args:
            if each.star == "**" and isinstance(each.value, cst.Dict):
                for element in each.value.elements:
                    match element:
                        case cst.DictElement(key=cst.SimpleString() as key):
                            if tree.literal(key) == "optimizer":
                                return element.value
    return None


def _is_eager_apply(file, value):
    attribute = file.parent(value)
    match attribute:
        case cst.Attribute(attr=cst.Name(value="apply_gradients")):
            call = file.parent(attribute)
        case _:
            return False
    return (
        isinstance(call, cst.Call)
        and len(call.args) == 1
        and not call.args[0].star
        # What it returns is an operation to run in TF1 graphs, and nothing elsewhere.
        and isinstance(file.parent(call), cst.Expr)
    )


def _describe(file, value):
    parent = file.parent(value)
    if isinstance(parent, cst.Attribute):
        what = f"is used as `.{parent.attr.value}`"
    elif isinstance(parent, cst.Arg):
        what = f"is passed to `{_callee(file, parent)}`"
    elif isinstance(parent, cst.Return):
        what = "is returned"
    else:
        what = "goes where its use cannot be followed"
    return f"{what} in {file.place(value)}"


def _callee(file, argument):
    call = file.parent(argument)
    return file.code(call.func) if isinstance(call, cst.Call) else "a class"
