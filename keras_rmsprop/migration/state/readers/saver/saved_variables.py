"""Which variables of a graph a checkpoint holds, and under which keys.

A `Saver` may store a variable under any key, and under that of another variable:
`swapping_saver` does, so that a restored model computes with its averages. Only the
operations that saved tell.
"""

import collections
import dataclasses
import re

import numpy as np

from keras_rmsprop.migration.state.readers.saver.graph import VARIABLES

# Where the operations that save take names, slices and the first tensor.
_SAVES = {"SaveV2": (1, 2, 3), "SaveSlices": (1, 2, 3), "Save": (1, None, 2)}
_SLICES = re.compile("([0-9]+ )+(-|[0-9]+,[0-9]+)(:(-|[0-9]+,[0-9]+))*")
_PART = re.compile("/part_[0-9]+(?=/|$)")


@dataclasses.dataclass(frozen=True)
class _Saved:
    """Where a variable is stored: a key, and which slices if the key holds several."""

    key: str
    slices: str = ""


class SavedVariables:
    """The variables that a checkpoint holds, by their names in the graph.

    Args:
        checkpoint: A `Checkpoint`.
        saved: Dictionary of `_Saved` by name.

    Attributes:
        wholes: Dictionary of names by name: of the parts of a variable, that of the
            whole; of any other, its own.
        foreign: Keys of what is no variable.
    """

    def __init__(self, checkpoint, saved):
        self._checkpoint = checkpoint
        self._saved = saved
        keys = collections.Counter(each.key for each in saved.values())
        self.foreign = sorted(set(checkpoint.shapes).difference(keys))
        self.wholes = {
            name: _PART.sub("", name) if each.slices or keys[each.key] > 1 else name
            for name, each in saved.items()
        }

    def __contains__(self, name):
        return name in self._saved

    def key(self, name):
        """Returns the key under which a variable, or its whole, is stored."""
        return self._saved[name].key

    def named(self, key):
        """Returns the variables that are stored under a key."""
        return [name for name, each in self._saved.items() if each.key == key]

    def value(self, name):
        """Returns the value of a variable or a part of one."""
        saved = self._saved[name]
        if not saved.slices:
            return self._checkpoint.value(saved.key)
        shape, slices = _parsed(saved.slices)
        held = tuple(self._checkpoint.shapes[saved.key])
        if shape != held:
            raise ValueError(
                f"The checkpoint {self._checkpoint.prefix!r} holds {saved.key!r} of "
                f"shape {held}, where the graph beside it says {shape}."
            )
        lengths = [len(range(*each.indices(n))) for each, n in zip(slices, shape)]
        return self._checkpoint.part(saved.key, saved.slices, lengths)

    def whole(self, parts, companions):
        """Returns what belongs to a whole variable.

        Args:
            parts: Names of the variable's parts, or its name.
            companions: Names of what belongs to each: a slot, or the part itself.
        """
        places = [self._saved[name] for name in parts]
        saved = [self._saved[name] for name in companions]
        if len({s.key for s in saved}) == 1 and all(
            place.slices == each.slices for place, each in zip(places, saved)
        ):
            return self._checkpoint.value(saved[0].key)
        if not places[0].slices:
            return self.value(companions[0])
        pieces = [self.value(name) for name in companions]
        # No longer than what was read.
        shape = self._checkpoint.value(places[0].key).shape
        whole = np.zeros(shape, pieces[0].dtype)
        filled = 0
        for place, piece in zip(places, pieces):
            of, slices = _parsed(place.slices)
            if of != whole.shape or whole[slices].shape != piece.shape:
                raise ValueError(
                    f"The parts of {places[0].key!r} in the checkpoint "
                    f"{self._checkpoint.prefix!r} do not fit together."
                )
            whole[slices] = piece
            filled += piece.size
        if filled != whole.size:
            raise ValueError(
                f"The checkpoint {self._checkpoint.prefix!r} lacks parts of what "
                f"belongs to {places[0].key!r}."
            )
        return whole


def by_keys(checkpoint):
    """Returns the variables of a checkpoint whose keys are their names."""
    return SavedVariables(checkpoint, {key: _Saved(key) for key in checkpoint.shapes})


def by_graph(checkpoint, graph):
    """Returns the variables of a checkpoint as a graph's operations saved them.

    Raises:
        ValueError: If the graph saves nothing like this checkpoint, or in several
            ways.
    """
    savers = _savers(graph)
    if not savers:
        # The graph was written before it had a `Saver`: then keys are names.
        names = [name for name, node in graph.nodes.items() if node.op in VARIABLES]
        keys = {name: _PART.sub("", name) for name in names}
        keys = {n: n if n in checkpoint else key for n, key in keys.items()}
        return SavedVariables(
            checkpoint, {n: _Saved(key) for n, key in keys.items() if key in checkpoint}
        )
    held = set(checkpoint.shapes)
    fitting = {
        scope: saved
        for scope, saved in savers.items()
        if {each.key for each, _ in saved} == held
    }
    if graph.saver in fitting:
        fitting = {graph.saver: fitting[graph.saver]}
    maps = [
        {name: each for each, name in saved if name is not None}
        for saved in fitting.values()
    ]
    if not maps:
        closest = min(savers.values(), key=lambda s: len(held ^ {e.key for e, _ in s}))
        keys = {each.key for each, _ in closest}
        raise ValueError(
            f"{graph.path!r} is the graph of another checkpoint: none of its savers "
            f"({', '.join(map(repr, savers))}) writes what {checkpoint.prefix!r} "
            f"holds. The closest writes {_some(keys - held)} besides, and not "
            f"{_some(held - keys)}. Without that file the names in the checkpoint are "
            "used."
        )
    if any(each != maps[0] for each in maps):
        raise ValueError(
            f"{graph.path!r} has several savers that may have written "
            f"{checkpoint.prefix!r}, and store variables under different keys: "
            f"{', '.join(map(repr, fitting))}. Without that file the names in the "
            "checkpoint are used."
        )
    return SavedVariables(checkpoint, maps[0])


def _savers(graph):
    """Returns pairs of a `_Saved` and a variable or None, by scope of the saver."""
    savers = {}
    for name, node in graph.nodes.items():
        if node.op not in _SAVES:
            continue
        first, second, start = _SAVES[node.op]
        tensors = node.inputs[start:]
        keys = _strings(graph, node, first)
        slices = _strings(graph, node, second) if second else [""]
        # A list whose end repeats is stored without it.
        keys += keys[-1:] * (len(tensors) - len(keys))
        slices += slices[-1:] * (len(tensors) - len(slices))
        saved = savers.setdefault(name.rpartition("/")[0], [])
        for key, part, tensor in zip(keys, slices, tensors):
            if part and (
                not _SLICES.fullmatch(part) or part.count(" ") != part.count(":") + 1
            ):
                raise ValueError(
                    f"{graph.path!r} is damaged: it saves the part {part!r} of {key!r}."
                )
            saved.append((_Saved(key, part), graph.variable(tensor)))
    return savers


def _strings(graph, node, index):
    if index >= len(node.inputs):
        return []
    constant = graph.nodes.get(graph.source(node.inputs[index])[0])
    if constant is None or constant.op != "Const":
        return []
    values = constant.attr["value"].tensor.string_val
    return [value.decode(errors="replace") for value in values]


def _parsed(specification):
    """Returns the shape and the slices that `"5 2 0,3:-"` means."""
    *shape, slices = specification.split(" ")
    parsed = []
    for each in slices.split(":"):
        start, _, length = each.partition(",")
        parsed.append(
            slice(None) if each == "-" else slice(int(start), int(start) + int(length))
        )
    return tuple(map(int, shape)), tuple(parsed)


def _some(names):
    names = sorted(names)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(map(repr, names[:3])) + more if names else "nothing"
