"""The file of an `OptimizerState`: an `.npz` with a header in JSON, without pickle.

`docs/moving-state.md` describes it.
"""

import contextlib
import json
import math
import os
import struct
import zipfile
import zlib

import ml_dtypes
import numpy as np

from keras_rmsprop.migration.files import replacing

FORMAT = "keras_rmsprop.OptimizerState"
VERSION = 1
HEADER = "state.json"
# A file of this size describes some hundred thousand variables.
_MAX_HEADER_BYTES = 1 << 28
_KINDS = ("tf1", "legacy", "keras2", "keras")
# NumPy's own files know these dtypes only as bytes.
_EXTENDED = {"bfloat16": np.dtype(ml_dtypes.bfloat16)}
_DTYPES = {
    **{
        name: np.dtype(name)
        for name in ("float16", "float32", "float64", "complex64", "complex128")
    },
    # Of variables without slots, such as counters.
    **{name: np.dtype(name) for name in ("bool", "int8", "int16", "int32", "int64")},
    **{name: np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
    **_EXTENDED,
}


def save(state, path):
    """Writes an `OptimizerState`; see `OptimizerState.save`."""
    arrays, entries = [], []

    def entry(array):
        array = np.asarray(array)
        if array.dtype.name not in _DTYPES:
            raise ValueError(
                f"A state can hold arrays of {', '.join(_DTYPES)}. "
                f"Received: an array of {array.dtype.name}"
            )
        arrays.append(array)
        return {
            "array": len(arrays) - 1,
            "dtype": array.dtype.name,
            "shape": list(array.shape),
        }

    for name, variable in state.variables.items():
        entries.append(
            {
                "name": name,
                "slots": {slot: entry(a) for slot, a in variable.slots.items()},
                "value": None if variable.value is None else entry(variable.value),
            }
        )
    header = {
        "format": FORMAT,
        "version": VERSION,
        "kind": state.kind,
        "update_rule": state.update_rule,
        "iterations": state.iterations,
        "hyperparameters": state.hyperparameters,
        "origin": state.origin,
        "variables": entries,
    }
    # Left out where there are none, so that the first readers of the format take it.
    if state.others:
        header["others"] = [
            {"name": name, "value": entry(value)}
            for name, value in state.others.items()
        ]
    if state.loss_scale:
        header["loss_scale"] = state.loss_scale
    if state.not_read:
        header["not_read"] = list(state.not_read)
    text = json.dumps(header, indent=1)
    with replacing(path) as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr(HEADER, text)
        for index, array in enumerate(arrays):
            if array.dtype.name in _EXTENDED:
                array = array.view(f"uint{8 * array.dtype.itemsize}")
            with archive.open(f"{index}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


@contextlib.contextmanager
def archive_errors(path, expected):
    """Turns what reading a damaged zip file raises into a ValueError that names it."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        KeyError,
        OSError,
        OverflowError,
        RuntimeError,
        ValueError,
    ) as error:
        raise ValueError(f"{str(path)!r} is not {expected}: {error}.") from error


def is_state_file(archive):
    """Whether an open `zipfile.ZipFile` claims to be in this format."""
    return HEADER in archive.namelist()


def load(path, state_type, variable_type):
    """Reads an `OptimizerState`; see `OptimizerState.load`."""
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"{path!r} is a directory. `OptimizerState.load` reads a file that "
            "`OptimizerState.save` wrote; the checkpoint of a directory is read by "
            "`migration.read_state`."
        )
    with (
        open(path, "rb") as file,
        archive_errors(
            path,
            "a whole file of `OptimizerState.save` (`migration.read_state` reads "
            "those of other programs)",
        ),
        zipfile.ZipFile(file) as archive,
    ):
        header = _header(archive)
        arrays = _Arrays(archive)
        variables = {}
        for each in _checked(header, "variables", list):
            name = _checked(each, "name", str)
            if name in variables:
                raise ValueError(f"the variable {name!r} occurs twice")
            variables[name] = _variable(name, each, arrays, variable_type)
        others = {}
        for each in _checked({"others": [], **header}, "others", list):
            name = _checked(each, "name", str)
            if name in variables or name in others:
                raise ValueError(f"the variable {name!r} occurs twice")
            others[name] = arrays.read(_checked(each, "value", dict))
        arrays.check_all_used()
    return state_type(
        variables=variables,
        iterations=header["iterations"],
        kind=header["kind"],
        update_rule=header["update_rule"],
        hyperparameters=header["hyperparameters"],
        origin=header["origin"],
        others=others,
        loss_scale=header.get("loss_scale", {}),
        not_read=tuple(header.get("not_read", ())),
    )


def _header(archive):
    if not is_state_file(archive):
        raise ValueError(f"it has no {HEADER!r}")
    if archive.getinfo(HEADER).file_size > _MAX_HEADER_BYTES:
        raise ValueError(f"its {HEADER!r} is larger than any state needs")
    try:
        header = json.loads(_read(archive, HEADER).decode())
    except (UnicodeDecodeError, RecursionError, json.JSONDecodeError) as error:
        raise ValueError(f"its {HEADER!r} is no JSON: {error}") from error
    if _checked(header, "format", str) != FORMAT:
        raise ValueError(f"its format is {header['format']!r} instead of {FORMAT!r}")
    if _checked(header, "version", int) != VERSION:
        raise ValueError(
            f"its version is {header['version']}; this library reads {VERSION}"
        )
    _checked(header, "iterations", (int, type(None)))
    if (header["iterations"] or 0) < 0:
        raise ValueError(f"its 'iterations' is {header['iterations']}")
    if _checked(header, "kind", str) not in _KINDS:
        raise ValueError(f"its 'kind' is {header['kind']!r}")
    _checked(header, "update_rule", (str, type(None)))
    _checked(header, "hyperparameters", dict)
    _checked(header, "origin", str)
    _checked({"loss_scale": {}, **header}, "loss_scale", dict)
    not_read = _checked({"not_read": [], **header}, "not_read", list)
    if not all(isinstance(text, str) for text in not_read):
        raise ValueError("its header has no valid 'not_read'")
    return header


def _variable(name, entry, arrays, variable_type):
    slots = {
        slot: arrays.read(each) for slot, each in _checked(entry, "slots", dict).items()
    }
    if not slots:
        raise ValueError(f"the variable {name!r} has no slots")
    value = None
    if _checked(entry, "value", (dict, type(None))) is not None:
        value = arrays.read(entry["value"])
    held = [*slots.values(), *([] if value is None else [value])]
    if len({array.shape for array in held}) > 1:
        raise ValueError(f"the arrays of the variable {name!r} differ in shape")
    return variable_type(slots, value)


class _Arrays:
    """The array members of an archive, each to be read once."""

    def __init__(self, archive):
        self._archive = archive
        self._unread = set(archive.namelist()) - {HEADER}

    def read(self, entry):
        index = _checked(entry, "array", int)
        name = _checked(entry, "dtype", str)
        shape = tuple(_checked(entry, "shape", list))
        member = f"{index}.npy"
        if name not in _DTYPES:
            raise ValueError(f"its array {member!r} is of dtype {name!r}")
        if member not in self._unread:
            raise ValueError(f"its array {member!r} is missing or used twice")
        self._unread.remove(member)
        dtype = _DTYPES[name]
        stored = dtype
        if name in _EXTENDED:
            stored = np.dtype(f"uint{8 * dtype.itemsize}")
        info = self._archive.getinfo(member)
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"its array {member!r} is compressed")
        # Looked at before anything is read, so that no header makes us allocate
        # more than the file holds.
        if not all(isinstance(n, int) and n >= 0 for n in shape):
            raise ValueError(f"its array {member!r} has the shape {list(shape)}")
        if math.prod(shape) * dtype.itemsize > info.file_size:
            raise ValueError(f"its array {member!r} is shorter than its shape")
        with self._archive.open(member) as file:
            version = np.lib.format.read_magic(file)
            if version != (1, 0):
                raise ValueError(f"its array {member!r} has NumPy format {version}")
            found = np.lib.format.read_array_header_1_0(file)
            if found != (shape, found[1], stored):
                raise ValueError(
                    f"its array {member!r} is {found[2]} of shape {found[0]} instead "
                    f"of {stored} of shape {shape}"
                )
            data = file.read()
        array = np.frombuffer(data, stored)
        if array.size != math.prod(shape):
            raise ValueError(f"its array {member!r} has {len(data)} bytes")
        array = array.reshape(shape, order="F" if found[1] else "C")
        return array.view(dtype).copy()

    def check_all_used(self):
        if self._unread:
            raise ValueError(f"nothing describes its members {sorted(self._unread)}")


def _read(archive, member):
    with archive.open(member) as file:
        return file.read()


def _checked(entry, key, types):
    """Returns `entry[key]` if it is there and of one of the types."""
    value = entry.get(key, _checked) if isinstance(entry, dict) else _checked
    if isinstance(value, types) and not isinstance(value, bool):
        return value
    raise ValueError(f"its header has no valid {key!r}")
