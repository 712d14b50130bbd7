"""Reads a `tf.train.Checkpoint`, which says of every tensor what it is."""

import collections
import os
import re

import tensorflow as tf

from keras_rmsprop.legacy import object_graph
from keras_rmsprop.migration.state.live import KerasAdapter
from keras_rmsprop.migration.state.optimizer_state import OptimizerState
from keras_rmsprop.migration.state.readers import checked, optimizer_config, slot_names
from keras_rmsprop.migration.state.readers.checkpoint import Checkpoint

_RMSPROP_SLOTS = {"rms", "mg", "momentum"}
# What a model counts of its losses is no part of it.
_METRICS = re.compile(
    "(.*/)?(keras_api|_?metrics|_loss_tracker|_compile_metrics)(/.*)?"
)


def kind(prefix):
    """Returns `"object"` or `"saver"`, the kind of checkpoint at a prefix."""
    return "object" if object_graph.KEY in Checkpoint(prefix) else "saver"


def read(prefix, optimizer_name=None, global_step=None):
    """Reads the state of the checkpoint's RMSProp optimizer.

    Args:
        prefix: Path of the checkpoint.
        optimizer_name: Path of the optimizer from the root of the object graph, as
            `"model/optimizer"`, if there are several. It may also be an OptimizerV2
            of another class.
        global_step: Full name or path of the step counter of a TF1 optimizer.

    Returns:
        An `OptimizerState`.
    """
    graph = _Objects(Checkpoint(prefix))
    found = {}
    for node in range(len(graph)):
        reader = _reader_of(graph, node)
        if reader is not None:
            found[graph.paths[node]] = (reader, node)
    optimizer_name = _chosen(graph, found, optimizer_name)
    reader, node = found[optimizer_name]
    state = reader(graph, node, global_step)
    state.loss_scale, unread_scale = _loss_scale(graph, node)
    if optimizer_name == "optimizer":
        _complete_from_saved_model(state, prefix)
    state.others, not_read = _others(graph, state.variables)
    state.not_read = (*unread_scale, *not_read)
    return state


class _Objects(object_graph.ObjectGraph):
    """The objects of a checkpoint with their values.

    Attributes:
        checkpoint: The `Checkpoint`.
        used: Set of the objects whose values were read.
    """

    def __init__(self, checkpoint):
        super().__init__(checkpoint.value(object_graph.KEY), checkpoint.prefix)
        self.checkpoint = checkpoint
        self.used = set()

    def value(self, node):
        """Returns the value of a variable as an array."""
        self.used.add(node)
        return self.checkpoint.value(self.key(node) or self.paths[node])

    def names(self, nodes):
        """Returns the names of variables, or their paths if names are not unique."""
        names = [self.full_name(node) for node in nodes]
        if len(set(names)) < len(names) or "" in names:
            return [self.paths[node] for node in nodes]
        return names


def _chosen(graph, found, name):
    """Returns the path of the optimizer to read, a key of `found`."""
    for path, (_, node) in found.items():
        wrapper = _wrapper_of(graph, node)
        if wrapper is not None and graph.paths[wrapper] == name:
            return path
    rmsprop = [path for path, (reader, _) in found.items() if reader is not _read_v2]
    choices = rmsprop or list(found)
    if name is None and len(choices) == 1:
        return choices[0]
    if name in found:
        return name
    hint = f"`optimizer_name` {'says which to read' if found else 'names one'}."
    if not found and any("iter" in graph.children(n) for n in range(len(graph))):
        hint = (
            "An OptimizerV2 in it has no slots: TensorFlow only saves slots together "
            "with the variables they belong to. Save both in one checkpoint."
        )
    raise ValueError(
        f"The checkpoint {graph.checkpoint.prefix!r} has {len(choices)} RMSProp "
        f"optimizers: {sorted(choices)}. {hint} Received: optimizer_name={name!r}"
    )


def _reader_of(graph, node):
    """Returns what reads this object, or None if it is no optimizer with slots."""
    children = graph.children(node)
    # Keras since 2.11; only its RMSProp has this list.
    if "_average_gradients" in children and "_velocities" in children:
        return _read_keras
    slots = graph.slots(node)
    if not slots:
        return None
    is_rmsprop = all({"rms"} <= set(each) <= _RMSPROP_SLOTS for each in slots.values())
    if "iter" in children:
        return _read_legacy if is_rmsprop else _read_v2
    return _read_tf1 if is_rmsprop else None


def _read_keras(graph, node, global_step):
    _refuse(global_step)
    children = graph.children(node)
    counter = children.get("_iterations", children.get("iterations"))
    lists = {
        slot: graph.items(children[attribute])
        for slot, attribute in KerasAdapter.lists.items()
        if attribute in children
    }
    lists = {slot: nodes for slot, nodes in lists.items() if nodes}
    known = {counter, children.get("_learning_rate"), *sum(lists.values(), [])}
    rest = [i for i in graph.items(children["_variables"]) if i not in known]
    is_keras_3 = "_trainable_variables" in children
    if is_keras_3:
        originals = graph.items(children["_trainable_variables"])
        names = graph.names(originals)
        lists.update(_by_names(graph, node, rest))
    else:
        _refuse_unknown(graph, node, rest)
        names = _names_in_slots(graph, node, lists)
        by_name = {graph.full_name(i): i for i in range(len(graph))}
        originals = [by_name.get(name) for name in names]
    if any(len(nodes) != len(names) for nodes in lists.values()) or "rms" not in lists:
        raise ValueError(
            f"The optimizer {graph.paths[node]!r} of the checkpoint "
            f"{graph.checkpoint.prefix!r} has {len(names)} variables and slots for "
            f"{ {slot: len(nodes) for slot, nodes in lists.items()} }."
        )
    slots = [{slot: lists[slot][i] for slot in lists} for i in range(len(names))]
    kind = "keras" if is_keras_3 else "keras2"
    return OptimizerState(
        variables=_variables(graph, names, originals, slots),
        iterations=_count(graph, counter),
        kind=kind,
        # Keras 3 does not say it, and ours can have any.
        update_rule=None if is_keras_3 else kind,
        hyperparameters=_numbers(graph, {"learning_rate": children["_learning_rate"]})
        if "_learning_rate" in children
        else {},
        origin=graph.checkpoint.prefix,
    )


def _by_names(graph, node, rest):
    """Returns the slots, in order, that Keras 3 has in no list but names.

    Until 3.5 its optimizers did not track their lists of slots.
    """
    found = {}
    for each in rest:
        parsed = slot_names.of_keras(graph.full_name(each))
        if parsed is None:
            _refuse_unknown(graph, node, [each])
        found.setdefault(parsed[1], []).append((parsed[0], each))
    if len({tuple(name for name, _ in pairs) for pairs in found.values()}) > 1:
        _refuse_unknown(graph, node, rest)
    return {slot: [each for _, each in pairs] for slot, pairs in found.items()}


def _names_in_slots(graph, node, lists):
    """Returns the names of the variables of an optimizer that knows its slots only."""
    nodes = {slot: [graph.full_name(i) for i in each] for slot, each in lists.items()}
    found = slot_names.of_keras_2(sum(nodes.values(), []))
    names = None
    if found is not None:
        names = {
            slot: [found[name][0] for name in each if found[name][1] == slot]
            for slot, each in nodes.items()
        }
    if not names or any(each != names.get("rms") for each in names.values()):
        _refuse_unknown(graph, node, sum(lists.values(), []))
    if len(set(names["rms"])) < len(names["rms"]):
        twice = sorted({n for n in names["rms"] if names["rms"].count(n) > 1})
        raise ValueError(
            f"The optimizer {graph.paths[node]!r} of the checkpoint "
            f"{graph.checkpoint.prefix!r} has several variables named {twice}."
        )
    return names["rms"]


def _refuse_unknown(graph, node, unknown):
    if unknown:
        raise ValueError(
            f"The optimizer {graph.paths[node]!r} of the checkpoint "
            f"{graph.checkpoint.prefix!r} has variables that are not named as the "
            f"slots of RMSprop: {[graph.full_name(i) for i in unknown][:10]}."
        )


def _read_legacy(graph, node, global_step):
    state = _read_v2(graph, node, global_step)
    state.update_rule = "legacy"
    return state


def _read_v2(graph, node, global_step):
    """Reads an OptimizerV2 of any class, whose slots go by their names."""
    _refuse(global_step)
    children = graph.children(node)
    hyper = {name: i for name, i in children.items() if name != "iter" and graph.key(i)}
    return OptimizerState(
        variables=_slot_variables(graph, node),
        iterations=_count(graph, children["iter"]),
        kind="legacy",
        hyperparameters=_numbers(graph, hyper),
        origin=graph.checkpoint.prefix,
    )


def _read_tf1(graph, node, global_step):
    wanted = global_step or "global_step"
    counters = [
        i
        for i in range(len(graph))
        if wanted in (graph.full_name(i), graph.paths[i]) and graph.key(i)
    ]
    if global_step is not None and len(counters) != 1:
        raise ValueError(
            "`global_step` must be the name or the path of a variable of the "
            f"checkpoint {graph.checkpoint.prefix!r}, which has the integers "
            f"{graph.checkpoint.steps()}. Received: global_step={global_step!r}"
        )
    return OptimizerState(
        variables=_slot_variables(graph, node),
        iterations=_count(graph, counters[0]) if len(counters) == 1 else None,
        kind="tf1",
        update_rule="tf1",
        origin=graph.checkpoint.prefix,
    )


def _slot_variables(graph, node):
    slots = graph.slots(node)
    originals = [i if graph.key(i) else None for i in slots]
    return _variables(graph, graph.names(slots), originals, list(slots.values()))


def _variables(graph, names, originals, slots):
    """Returns the `VariableState`s by name, of the objects of each variable."""
    return {
        name: checked.variable(
            name,
            {slot: graph.value(i) for slot, i in each.items()},
            None if original is None else graph.value(original),
            graph.checkpoint.prefix,
        )
        for name, original, each in zip(names, originals, slots)
    }


def _count(graph, node):
    if node is None or not graph.key(node):
        return None
    return checked.count(graph.value(node), graph.key(node), graph.checkpoint.prefix)


def _numbers(graph, nodes):
    """Returns the hyperparameters that are variables, as numbers."""
    return {
        name: checked.number(graph.value(i), graph.key(i), graph.checkpoint.prefix)
        for name, i in nodes.items()
        if graph.key(i)
    }


def _wrapper_of(graph, node):
    """Returns the `LossScaleOptimizer` of Keras 3 around an optimizer, or None."""
    for each in range(len(graph)):
        children = graph.children(each)
        if children.get("inner_optimizer") == node and "dynamic_scale" in children:
            return each
    return None


def _loss_scale(graph, node):
    """Returns `OptimizerState.loss_scale`, and what of it is not read."""
    wrapper = _wrapper_of(graph, node)
    if wrapper is not None:
        names = {"dynamic_scale": "dynamic_scale", "step_counter": "step_counter"}
        held = graph.children(wrapper)
        graph.used.update(i for i in graph.items(held["_variables"]) if graph.key(i))
    elif "loss_scale" in graph.children(node):
        names = {"dynamic_scale": "current_loss_scale", "step_counter": "good_steps"}
        held = graph.children(graph.children(node)["loss_scale"])
    else:
        return {}, ()
    if not set(names.values()) <= set(held):
        return {}, ("the loss scale, which is not where Keras puts it",)
    return {
        "dynamic_scale": _numbers(graph, {"": held[names["dynamic_scale"]]})[""],
        "step_counter": _count(graph, held[names["step_counter"]]),
    }, ()


def _complete_from_saved_model(state, prefix):
    """Adds the arguments that a SavedModel has beside its checkpoint."""
    folder = os.path.dirname(os.path.dirname(prefix))
    path = os.path.join(folder, "keras_metadata.pb")
    if not os.path.exists(path):
        return
    config = optimizer_config.of_saved_model(path)
    if state.kind == "keras2":
        config.check_rmsprop(path)
    if config.class_name not in (None, "RMSprop"):
        # Of somebody's own, with the slots of RMSprop.
        state.update_rule = None
    # Numbers that are variables have what they were set to last.
    state.hyperparameters = {**config.hyperparameters, **state.hyperparameters}
    state.loss_scale = {**config.loss_scale, **state.loss_scale}


def _others(graph, variables):
    """Returns `OptimizerState.others` and `OptimizerState.not_read`."""
    of_optimizers = _held_by_optimizers(graph)
    model, left = [], collections.Counter()
    for node in graph.order:
        path = graph.paths[node]
        if not graph.key(node) or node in graph.used:
            continue
        dtype = graph.checkpoint.dtypes.get(graph.key(node), tf.string)
        is_of_model = node not in of_optimizers and path != "save_counter"
        if is_of_model and dtype != tf.string and not _METRICS.fullmatch(path):
            model.append(node)
        else:
            left[path.rpartition("/")[0] or path] += 1
    names = graph.names(model)
    if set(names) & set(variables):
        names = [graph.paths[node] for node in model]
    others = {name: graph.value(node) for name, node in zip(names, model)}
    not_read = [
        f"{path!r}" + (f": {n} values" if n > 1 else "") for path, n in left.items()
    ]
    return others, tuple(not_read)


def _held_by_optimizers(graph):
    """Returns the objects that belong to optimizers, and not to the model."""
    held, queue = set(), []
    for node in range(len(graph)):
        children = graph.children(node)
        if (
            "learning_rate" in children
            and "iter" in children
            or ("_learning_rate" in children and "_variables" in children)
        ):
            queue.append(node)
        for slots in graph.slots(node).values():
            held.update(slots.values())
    while queue:
        node = queue.pop()
        for name, child in graph.children(node).items():
            if name != "_trainable_variables" and child not in held:
                held.add(child)
                queue.append(child)
    return held


def _refuse(global_step):
    if global_step is not None:
        raise ValueError(
            "`global_step` says nothing about this optimizer, which counts its own "
            f"steps. Received: global_step={global_step!r}"
        )
