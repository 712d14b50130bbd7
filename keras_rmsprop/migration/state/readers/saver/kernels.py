"""The RMSProp optimizers of a graph: its training kernels say what is what."""

import re

from keras_rmsprop.migration.state.readers.saver.optimizers import Optimizer

_KERNEL = re.compile("(Resource)?(Sparse)?Apply([A-Z].*)")
# Variables and hyperparameters as training kernels take them.
_SLOTS = {
    "RMSProp": ("rms", "momentum"),
    "CenteredRMSProp": ("mg", "rms", "momentum"),
}
_HYPERPARAMETERS = ("learning_rate", "decay", "momentum", "epsilon")
# Slots in order of creation.
_ORDER = ("rms", "mg", "momentum")


def training(graph):
    """Returns the names of the operations that train, by their type."""
    found = {}
    for name, node in graph.nodes.items():
        if _KERNEL.fullmatch(node.op):
            found.setdefault(node.op, []).append(name)
    return found


def optimizers(graph, variables):
    """Finds the RMSProp optimizers that a graph trains with.

    Args:
        graph: A `Graph`.
        variables: Its `SavedVariables`.

    Returns:
        A dictionary of `Optimizer` by name, without those that have no slots; and a
        list of the variables, or of kernels, whose slots are not held.
    """
    # By the scopes of the operations, which are unique.
    scopes = {}
    for operation, node in graph.nodes.items():
        kernel = _KERNEL.fullmatch(node.op)
        if kernel and kernel[3] in _SLOTS:
            slots = _SLOTS[kernel[3]]
            optimizer = scopes.setdefault(
                operation.partition("/update_")[0], Optimizer()
            )
            _add(optimizer, graph, variables, operation, slots)
    merged = _merged(scopes)
    names = {scope: _name(optimizer) for scope, optimizer in merged.items()}
    taken = list(names.values())
    # Several of one name go by the names of their operations.
    found = {
        names[scope] if taken.count(names[scope]) == 1 else scope: optimizer
        for scope, optimizer in merged.items()
        if optimizer.slots
    }
    return found, sorted({name for each in merged.values() for name in each.missing})


def companions(graph):
    """Returns the names of the variables that kernels keep beside what they train."""
    found = {}
    for node in graph.nodes.values():
        if _KERNEL.fullmatch(node.op):
            for tensor in node.inputs[1:]:
                variable = graph.variable(tensor)
                if variable is not None:
                    found.setdefault(variable, node.op)
    return found


def _add(optimizer, graph, variables, operation, slot_names):
    """Adds what one kernel trains to its optimizer."""
    inputs = graph.nodes[operation].inputs
    found = [graph.variable(tensor) for tensor in inputs[: 1 + len(slot_names)]]
    if len(found) <= len(slot_names) or None in found:
        optimizer.missing.add(operation)
        return
    variable, *slots = found
    if variable not in variables:
        # The copies of a variable on other devices are not saved.
        return
    if any(slot not in variables for slot in slots):
        optimizer.missing.add(variable)
        return
    slots = dict(zip(slot_names, slots))
    held = optimizer.slots.setdefault(
        variables.wholes[variable],
        {"variable": [], **{slot: [] for slot in _ORDER if slot in slots}},
    )
    if variable not in held["variable"]:
        held["variable"].append(variable)
        for slot, name in slots.items():
            held[slot].append(name)
    for name, tensor in zip(_HYPERPARAMETERS, inputs[1 + len(slot_names) :]):
        source = graph.source(tensor, casts=True)
        optimizer.hyperparameters.setdefault(name, set()).add(source)


def _merged(scopes):
    """Joins optimizers that share a slot: one, whose `minimize` was called again."""
    merged = {}
    for scope, optimizer in scopes.items():
        slots = optimizer.names() - _variables(optimizer)
        for known in merged.values():
            if slots & known.names():
                known.slots.update(optimizer.slots)
                known.missing |= optimizer.missing
                for name, tensors in optimizer.hyperparameters.items():
                    known.hyperparameters.setdefault(name, set()).update(tensors)
                break
        else:
            merged[scope] = optimizer
    return merged


def _variables(optimizer):
    return {name for slots in optimizer.slots.values() for name in slots["variable"]}


def _name(optimizer):
    """Returns the name of an optimizer, which that of its first slot begins with."""
    for slots in optimizer.slots.values():
        first, *others = (
            names[0].rpartition("/")[2]
            for slot, names in slots.items()
            if slot != "variable"
        )
        if all(other.startswith(f"{first}_") for other in others):
            return first
        return re.sub("_[0-9]+$", "", first)
    return None
