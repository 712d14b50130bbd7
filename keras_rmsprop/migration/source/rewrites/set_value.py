"""`K.set_value(model.optimizer.lr, x)`, as Keras set a learning rate by hand."""

import libcst as cst

from keras_rmsprop.migration.source import findings, rewrites, tree

_SETTERS = ("set_value", "get_value")
_RATES = ("lr", "learning_rate")


@rewrites.handles(cst.Module)
def note(module, file):
    """Notes it where an optimizer of this file becomes one of Keras 3."""
    if file.options.to == "compat" or not file.edits:
        return
    said = set()
    for name in file.occurrences(*_SETTERS):
        call = file.parent(name)
        while isinstance(call, cst.Attribute):
            call = file.parent(call)
        if isinstance(call, cst.Call) and call.args:
            rate = call.args[0].value
            if isinstance(rate, cst.Attribute) and rate.attr.value in _RATES:
                _say(call, name.value, file.code(rate.value), file)
                said.add(rate)
    for name in file.occurrences("lr"):
        match file.parent(name):
            case cst.Attribute(value=cst.Attribute() as optimizer) as rate:
                if optimizer.attr.value == "optimizer" and rate not in said:
                    _say_renamed(rate, file)


def _say_renamed(rate, file):
    optimizer = file.code(rate.value)
    file.report(
        rate,
        findings.NOTE,
        f"Keras 3 takes no heed of `{file.code(rate)}`: write "
        f"`{optimizer}.learning_rate`",
    )


def _say(call, name, optimizer, file):
    value = file.code(call.args[1].value) if len(call.args) > 1 else "..."
    rate = f"{optimizer}.learning_rate"
    instead = f"{rate} = {value}" if name == "set_value" else f"float({rate})"
    file.report(
        call,
        findings.NOTE,
        f"Keras 3 has no `{tree.dotted(call.func)}` and its optimizers no `lr`: "
        f"write `{instead}`",
    )
