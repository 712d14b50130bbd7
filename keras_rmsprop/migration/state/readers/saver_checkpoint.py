"""Reads a TF1 `Saver` checkpoint, in which slots are known by their names only.

The graph that `Saver` writes beside it (`.meta`) tells which variables the training
kernels use as what, under which keys they are stored, and the hyperparameters. It
decides wherever it is. Without it, or if nothing trains in it, the names have to do.
"""

from keras_rmsprop.migration.state.optimizer_state import OptimizerState, VariableState
from keras_rmsprop.migration.state.readers.checkpoint import Checkpoint
from keras_rmsprop.migration.state.readers.saver import (
    bystanders,
    kernels,
    names,
    saved_variables,
)
from keras_rmsprop.migration.state.readers.saver.evaluation import Evaluation
from keras_rmsprop.migration.state.readers.saver.graph import Graph
from keras_rmsprop.migration.state.readers.saver.hyperparameters import Hyperparameters
from keras_rmsprop.migration.state.readers.saver.optimizers import described


def read(prefix, optimizer_name=None, centered=None, global_step=None):
    """Reads the state of the checkpoint's RMSProp optimizer.

    Args:
        prefix: Path of the checkpoint.
        optimizer_name: The optimizer's `name`, if there are several.
        centered: Whether it is centered; an error if the checkpoint says otherwise.
        global_step: Name of the step counter.

    Returns:
        An `OptimizerState`.
    """
    checkpoint = Checkpoint(prefix)
    graph = Graph.beside(prefix)
    try:
        if graph is not None and kernels.training(graph):
            return _read_by_graph(
                checkpoint, graph, optimizer_name, centered, global_step
            )
    except RecursionError as error:
        raise ValueError(
            f"{graph.path!r} nests deeper than this library follows."
        ) from error
    return _read_by_names(checkpoint, graph, optimizer_name, centered, global_step)


def _read_by_graph(checkpoint, graph, optimizer_name, centered, global_step):
    variables = saved_variables.by_graph(checkpoint, graph)
    found, missing = kernels.optimizers(graph, variables)
    not_read = []
    if missing:
        not_read.append(
            "variables whose slots the checkpoint does not hold: "
            f"{bystanders.listed(missing)}"
        )
    if not found:
        trains = kernels.training(graph)
        raise ValueError(
            f"The graph {graph.path!r} trains with {', '.join(sorted(trains))}"
            + (f", and {not_read[0]}." if missing else ", and with no RMSProp.")
        )
    name, optimizer = _chosen(
        checkpoint.prefix, found, optimizer_name, centered, not_read
    )
    counter = _counter(checkpoint, variables, global_step, graph.global_step)

    def value_of(variable):
        if variable not in variables or checkpoint.shapes[variables.key(variable)]:
            return None
        return variables.value(variable)

    hyperparameters = Hyperparameters(graph, Evaluation(graph, value_of))
    for argument, tensors in optimizer.hyperparameters.items():
        hyperparameters.read(argument, tensors, counter)
    return _state(
        checkpoint,
        variables,
        optimizer,
        counter or hyperparameters.step,
        hyperparameters.values,
        [*hyperparameters.not_read, *not_read],
        hyperparameters.used,
        kernels.companions(graph),
    )


def _read_by_names(checkpoint, graph, optimizer_name, centered, global_step):
    found, refused = names.optimizers(checkpoint, optimizer_name)
    name, optimizer = _chosen(
        checkpoint.prefix, found, optimizer_name, centered, refused
    )
    names.check_values(
        checkpoint.prefix,
        name,
        {s["rms"][0]: checkpoint.value(s["rms"][0]) for s in optimizer.slots.values()},
        may_be_non_finite=optimizer_name is not None,
    )
    variables = saved_variables.by_keys(checkpoint)
    why = "there is no .meta file beside the checkpoint"
    if graph is not None:
        why = f"nothing trains in the graph {graph.path!r}"
    not_read = [
        f"learning_rate, decay, momentum, epsilon: {why}; its names told the slots. "
        "Give those of the source"
    ]
    if any(
        f"{name}/ExponentialMovingAverage" in checkpoint for name in optimizer.slots
    ):
        not_read.append(
            "whether the values are moving averages: a `swapping_saver` stores those "
            f"as the variables, and the variables as theirs; {why}"
        )
    return _state(
        checkpoint,
        variables,
        optimizer,
        _counter(checkpoint, variables, global_step),
        {},
        not_read,
    )


def _chosen(prefix, found, optimizer_name, centered, remarks):
    """Returns the name of the optimizer to read, and the optimizer."""
    name = optimizer_name
    if name is None and len(found) == 1:
        name = next(iter(found))
    if name not in found:
        raise ValueError(
            f"The checkpoint {prefix!r} has {len(found)} optimizers that may be the "
            f"RMSProp: {described(found)}; `optimizer_name` must say which. "
            f"Received: optimizer_name={optimizer_name!r}"
            + "".join(f"\n- {remark}" for remark in remarks[:8])
        )
    slots = found[name].slot_names
    if len(slots) > 1 or centered not in (None, *("mg" in each for each in slots)):
        raise ValueError(
            f"The optimizer {name!r} of the checkpoint {prefix!r} has the slots "
            f"{described({name: found[name]})}. Received: centered={centered}"
        )
    return name, found[name]


def _counter(checkpoint, variables, given, of_graph=None):
    """Returns the name of the step counter, or None."""
    if given is not None and given not in checkpoint and given in variables:
        given = variables.key(given)
    if given is not None:
        # As the checkpoint's keys, or as the graph names it.
        checkpoint.step(given)
        return variables.named(given)[0]
    steps = {key: variables.named(key) for key in checkpoint.steps()}
    held = [name for names in steps.values() for name in names]
    for name in (of_graph, "global_step"):
        if name in held:
            return name
    scoped = [name for name in held if name.endswith("/global_step")]
    return scoped[0] if len(scoped) == 1 else None


def _state(
    checkpoint,
    variables,
    optimizer,
    counter,
    hyperparameters,
    not_read,
    used=(),
    kept_by=None,
):
    """Returns the state of an optimizer that was found."""
    used = {*optimizer.names(), *used}
    iterations = None
    if counter is not None:
        iterations = checkpoint.step(variables.key(counter))
        used.add(counter)
    others, left = bystanders.sort(checkpoint, variables, used, kept_by or {})
    (slots,) = optimizer.slot_names
    return OptimizerState(
        variables={
            name: _variable(checkpoint, variables, name, held)
            for name, held in optimizer.slots.items()
        },
        iterations=iterations,
        kind="tf1",
        update_rule="tf1",
        hyperparameters={**hyperparameters, "centered": "mg" in slots},
        origin=checkpoint.prefix,
        others=others,
        not_read=(*not_read, *left),
    )


def _variable(checkpoint, variables, name, held):
    parts = held["variable"]
    arrays = {slot: variables.whole(parts, names) for slot, names in held.items()}
    shapes = {array.shape for array in arrays.values()}
    if len(shapes) > 1:
        raise ValueError(
            f"The checkpoint {checkpoint.prefix!r} holds {name!r} and its slots in "
            f"different shapes: {', '.join(map(str, sorted(shapes)))}."
        )
    value = arrays.pop("variable")
    return VariableState(arrays, value)
