"""What becomes of an optimizer after its construction, as far as a file shows."""

import libcst as cst

from keras_rmsprop.migration.source import source_file

# What OptimizerV2 offers and Keras 3 does not.
_LEGACY_ONLY = frozenset(
    [
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


def tf1_only(file, call):
    """Returns why a TF1 optimizer cannot become a Keras optimizer, or None.

    Only two uses are the same in both APIs: as the optimizer of `compile`, and
    `apply_gradients(pairs)` called for its effect. Any other, and any that this
    file does not show, may need the TF1 API.

    Args:
      file: the `SourceFile`.
      call: the constructor call.
    """
    for value in _loads(file, call):
        if not _is_compiled(file, value) and not _is_eager_apply(file, value):
            return (
                f"{_describe(file, value)}, which may need the TF1 API: "
                "only `--to compat` keeps that"
            )
    return None


def legacy_only(file, call):
    """Returns why an OptimizerV2 cannot become a Keras 3 optimizer, or None.

    Args:
      file: the `SourceFile`.
      call: the constructor call.
    """
    for value in _loads(file, call):
        parent = file.parent(value)
        if isinstance(parent, cst.Attribute) and parent.attr.value in _LEGACY_ONLY:
            return (
                f"{_describe(file, value)}, which Keras 3 optimizers lack: "
                "only `--to compat` keeps that"
            )
    return None


def _loads(file, value):
    """The expressions that give the object: the call itself, or reads of it."""
    parent = file.parent(value)
    if isinstance(parent, cst.Expr):
        return []
    if isinstance(parent, cst.IfExp):
        return _loads(file, parent)
    if isinstance(parent, cst.Assign):
        targets = [target.target for target in parent.targets]
    elif isinstance(parent, cst.AnnAssign):
        targets = [parent.target]
    else:
        return [value]
    if any(source_file.dotted(target) is None for target in targets):
        return [value]
    return [load for target in targets for load in file.loads_of(target)]


def _is_compiled(file, value):
    argument = file.parent(value)
    if not isinstance(argument, cst.Arg):
        return False
    call = file.parent(argument)
    return isinstance(call, cst.Call) and optimizer_of_compile(call) is argument


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
    return f"the optimizer {what} in {file.place(value)}"


def _callee(file, argument):
    call = file.parent(argument)
    return file.code(call.func) if isinstance(call, cst.Call) else "a class"
