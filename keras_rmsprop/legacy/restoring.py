"""Finds the slots in a `tf.train.Checkpoint` whose model has another object graph.

TensorFlow restores a slot when it restores the variable that the slot belongs to. In a
model of Keras 3 no variable is where the models of Keras 2 had it, so that none is
found, and no slot either, without a word. Here slots are found by the names and the
order of variables instead.
"""

import collections
import itertools
import re

import tensorflow as tf

from keras_rmsprop.legacy.object_graph import KEY, ObjectGraph


class SlotsInCheckpoint:
    """The slots that a checkpoint holds for one optimizer.

    Attributes:
        count: Number of slots that are held for the optimizer that has most.
        is_of_start: Whether it was saved before a step was taken: no slots are
            missing in it.

    Args:
        path: Path of the checkpoint.
    """

    def __init__(self, path):
        self._path = path
        self._reader = tf.train.load_checkpoint(path)
        self._shapes = self._reader.get_variable_to_shape_map()
        optimizers, self._graph = [], None
        if KEY in self._shapes:
            self._graph = ObjectGraph(self._reader.get_tensor(KEY), path)
            # Of every OptimizerV2, and of nothing else.
            counters = [
                self._graph.children(i).get("iter") for i in range(len(self._graph))
            ]
            optimizers = [
                i for i, counter in enumerate(counters) if counter is not None
            ]
            counters = [self._graph.key(counters[i]) for i in optimizers]
        self._optimizers = [self._graph.slots(node) for node in optimizers]
        self.count = max(
            (sum(map(len, s.values())) for s in self._optimizers), default=0
        )
        self.is_of_start = (
            bool(optimizers)
            and self.count == 0
            and not any(
                key in self._shapes and self._reader.get_tensor(key) for key in counters
            )
        )

    def find(self, paths, shapes, slot_names):
        """Returns the checkpoint keys of slots by name, for each variable.

        Args:
            paths: List of the names of the variables, in the model's order.
            shapes: List of their shapes.
            slot_names: List of the names of the slots that they have.

        Raises:
            ValueError: If the checkpoint does not hold these slots, or leaves a
                choice.
        """
        fitting, reasons = [], []
        for slots in self._optimizers:
            why = self._difference(slots, paths, shapes, slot_names)
            if why is None:
                fitting.append(slots)
            else:
                reasons.append(why)
        if len(fitting) == 1:
            return [
                {name: self._graph.key(i) for name, i in each.items()}
                for each in fitting[0].values()
            ]
        if fitting:
            reasons = [f"{len(fitting)} optimizers in it could be this one"]
        raise ValueError(
            f"The slots in the checkpoint {self._path!r} were not restored: "
            f"{'; '.join(reasons) or 'it holds no optimizer of this API'}. Make the "
            "optimizer anew and fill it with keras_rmsprop.migration, which takes a "
            "map of names: read_state(path).apply_to(optimizer, variables, name_map)."
        )

    def value(self, key):
        """Returns the array under a key."""
        return self._reader.get_tensor(key)

    def _difference(self, slots, paths, shapes, slot_names):
        """Returns why an optimizer of the checkpoint is not the one asked for."""
        if not slots:
            return (
                "it holds no slots, because it was saved without the variables they "
                "belong to"
            )
        names = [self._graph.full_name(variable) for variable in slots]
        if len(names) != len(paths):
            return f"it has slots of {len(names)} variables, and there are {len(paths)}"
        for name, path, shape, held in zip(names, paths, shapes, slots.values()):
            if set(held) != set(slot_names):
                return (
                    f"{name!r} has the slots {sorted(held)}, not {sorted(slot_names)}"
                )
            found = {slot: self._shape(i) for slot, i in held.items()}
            if set(found.values()) != {shape}:
                return f"{name!r} has slots of the shapes {found}, {path!r} has {shape}"
            if not _have_like_names(name, path):
                return f"{name!r} is where {path!r} would be"
        (name, _), times = collections.Counter(zip(names, shapes)).most_common(1)[0]
        if times > 1:
            return f"{times} variables of one shape are named {name!r}"
        if not _are_numbered_alike(names, paths):
            return f"counters in the names {names} and {paths} are in different orders"
        return None

    def _shape(self, node):
        return tuple(self._shapes.get(self._graph.key(node), ()))


def assignment(held, wanted):
    """Returns which of the variables that slots are held for each variable is.

    Args:
        held: List of the name and shape of each variable that there are slots of.
        wanted: List of the name and shape of each variable that needs slots.

    Returns:
        A list of an index into `held`, or None for what is new, for each of `wanted`.

    Raises:
        ValueError: If names and order do not tell.

    Example:

    >>> assignment([("a", (2,)), ("b", (2,))], [("b", (2,)), ("c", (3,)), ("a", (2,))])
    [1, None, 0]
    >>> assignment([("dense/bias", (2,))], [("dense_1/bias", (2,))])
    [0]
    """
    held = [(path, tuple(shape)) for path, shape in held]
    wanted = [(path, tuple(shape)) for path, shape in wanted]
    found = [None] * len(wanted)
    for each in set(held) & set(wanted):
        ours = [i for i, other in enumerate(held) if other == each]
        theirs = [i for i, other in enumerate(wanted) if other == each]
        # Of several alike their order tells, if none is missing.
        if len(ours) == len(theirs):
            for i, index in zip(theirs, ours):
                found[i] = index
    if set(range(len(held))).issubset(found) or None not in found:
        return found
    names, paths = [each[0] for each in held], [each[0] for each in wanted]
    if (
        [each[1] for each in held] == [each[1] for each in wanted]
        and all(map(_have_like_names, names, paths))
        and _are_numbered_alike(names, paths)
    ):
        return list(range(len(held)))
    raise ValueError(
        f"The optimizer holds slots of the variables {held}, and it cannot be told "
        f"which of them are those of {wanted}. Take the next step with the same "
        "variables in the same order, or make another optimizer, `build` it, and "
        "give it `set_weights(optimizer.get_weights())`."
    )


def _have_like_names(name, path):
    """Whether two names agree but for outer scopes and what a counter added.

    Example:

    >>> _have_like_names("dense_1/kernel", "sequential/dense_7/kernel")
    True
    >>> _have_like_names("dense/bias", "sequential/dense/kernel")
    False
    """
    name, path = _without_counters(name), _without_counters(path)
    return f"/{path}".endswith(f"/{name}") or f"/{name}".endswith(f"/{path}")


def _without_counters(name):
    return re.sub("_[0-9]+(?=/|$)", "", name)


def _are_numbered_alike(names, paths):
    """Whether the layers of one name stand in one order on both sides.

    Counters are given when layers are made. Where names differ in them only, and one
    side has them in another order, the layers are not those that they seem to be.

    Example:

    >>> _are_numbered_alike(["d/w", "d_1/w"], ["d_3/w", "d_4/w"])
    True
    >>> _are_numbered_alike(["d_1/w", "d/w"], ["d_3/w", "d_4/w"])
    False
    """
    pairs = [
        (_without_counters(n), _counters(n), _counters(p)) for n, p in zip(names, paths)
    ]
    pairs.sort(key=lambda each: each[0])
    for _, group in itertools.groupby(pairs, key=lambda each: each[0]):
        _, ours, theirs = zip(*group)
        if _ranks(ours) != _ranks(theirs):
            return False
    return True


def _counters(name):
    # Of the layer and what is in it; an outer scope that one side lacks says nothing.
    parts = name.split("/")[-2:]
    return [int((re.search("_([0-9]+)$", part) or [0, 0])[1]) for part in parts]


def _ranks(values):
    return sorted(range(len(values)), key=lambda i: values[i])
