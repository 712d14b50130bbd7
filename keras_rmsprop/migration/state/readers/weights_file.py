"""Keras 3's files of weights: one HDF5 file, or several that a JSON file lists."""

import json
import os

from keras_rmsprop.migration.state.readers import hdf5_file, optimizer_config

# What Keras 2.13 called the layers of a model.
_FORMER_LAYERS = "_layer_checkpoint_dependencies"


class Weights:
    """The arrays of a file of weights, read into memory.

    Each object of a model has a group `<path>/vars`, with its arrays under keys.

    Attributes:
        origin: Path of the file.
        groups: Dictionary of dictionaries of arrays by key, by the path of an object.
        names: Dictionary of the names of objects by their paths; Keras writes them
            since 3.5.
    """

    def __init__(self, origin):
        self.origin = origin
        self.groups = {}
        self.names = {}

    def add(self, file, size):
        """Reads an HDF5 file, given as path or binary file, of some bytes."""
        with hdf5_file.opened(file, self.origin, size) as opened:
            for group in opened.groups_named("vars"):
                path = group.removesuffix("vars").rstrip("/")
                path = path.replace(_FORMER_LAYERS, "layers")
                arrays = self.groups.setdefault(path, {})
                for key in opened.members(group):
                    if key in arrays:
                        raise ValueError(f"{self.origin!r} has {group}/{key} twice.")
                    arrays[key] = opened.array(f"{group}/{key}")
                name = opened.text(group, "name")
                if name is not None:
                    self.names[path] = name

    def numbered(self, path):
        """Returns the arrays of an object in their order, and those with names."""
        arrays = dict(self.groups.get(path, {}))
        numbered = []
        while str(len(numbered)) in arrays:
            numbered.append(arrays.pop(str(len(numbered))))
        if any(key.isdecimal() for key in arrays):
            raise ValueError(
                f"The arrays of {path!r} in {self.origin!r} are not numbered without "
                f"gaps: there is no {len(numbered)}."
            )
        return numbered, arrays


def read(path):
    """Reads a `.weights.h5` file."""
    weights = Weights(path)
    weights.add(path, os.path.getsize(path))
    return weights


def is_index(path):
    """Whether a file lists the files over which weights are divided."""
    with open(path, "rb") as file:
        if file.read(1) != b"{":
            return False
    return path.endswith(".json")


def read_divided(path):
    """Reads a `.weights.json` file and the `.weights.h5` files that it lists."""
    with open(path, "rb") as file:
        index = optimizer_config.from_json(file.read(), path, "content")
    listed = index.get("weight_map") if isinstance(index, dict) else None
    files = []
    for each in listed.values() if isinstance(listed, dict) else ():
        files += each if isinstance(each, list) else [each]
    if not files:
        raise ValueError(f"{path!r} lists no files of weights.")
    weights = Weights(path)
    for name in dict.fromkeys(json.dumps(each) for each in files):
        name = json.loads(name)
        # Files elsewhere are none of a stranger's business.
        if not isinstance(name, str) or name != os.path.basename(name):
            raise ValueError(f"{path!r} lists {name!r}, which is no file beside it.")
        part = os.path.join(os.path.dirname(path), name)
        if not os.path.isfile(part):
            raise ValueError(f"{path!r} lists {name!r}, and there is no such file.")
        weights.add(part, os.path.getsize(part))
    return weights
