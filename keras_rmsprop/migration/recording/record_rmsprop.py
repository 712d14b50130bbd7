"""Records what an RMSProp optimizer of a running program does, step by step.

This file needs NumPy and the TensorFlow that is there (1.4 or later, Python 3.5 or
later), nothing else: copy it beside the program. Then two lines record a run:

    import record_rmsprop
    recorder = record_rmsprop.Recorder("run.rmsprop", steps=200)
    optimizer = recorder.wrap(optimizer)   # before minimize, compile or the first step

It was printed by `keras-rmsprop recorder`; `keras_rmsprop.migration` reads the file.
Licence: Apache-2.0.
"""

import json
import struct
import sys
import zlib

import numpy as np

MAGIC = b"keras_rmsprop.Recording 1\n"
# Sizes of header and data, their checksums, and the checksum of these twenty bytes.
PREFIX = struct.Struct("<IQII")
CHECKSUM = struct.Struct("<I")
DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
)


class RecordingFile(object):
    """Writes a recording: `start` once, then `gradients` and `values` for each step.

    Every record is in the file when its call returns, so that a process that is
    killed leaves all of them.

    Args:
        path: Path of the file, which must not exist.
    """

    def __init__(self, path):
        self._file = open(path, "xb")
        self._file.write(MAGIC)
        self._file.flush()

    def start(self, header, names, start, start_slots, others=()):
        """Writes what the run starts from.

        Args:
            header: Dictionary with `"optimizer"`, `"generation"`, `"arguments"`,
                `"evaluated"`, `"clipped"`, `"versions"`, `"processor"`, `"steps"` and
                `"iterations"`, which `Recording` explains.
            names: Names of the variables.
            start: Their values, a list of arrays.
            start_slots: For each a dictionary of arrays by slot name.
            others: Pairs of a name and an array, the model's other variables.
        """
        arrays = _Arrays()
        header = dict(header, record="start")
        header["variables"] = [
            {
                "name": name,
                "value": arrays.add(value),
                "slots": {slot: arrays.add(slots[slot]) for slot in sorted(slots)},
            }
            for name, value, slots in zip(names, start, start_slots)
        ]
        header["others"] = [[name, arrays.add(value)] for name, value in others]
        self._write(header, arrays)

    def gradients(
        self, step, gradients, learning_rate, loss=None, batch=None, changed=()
    ):
        """Writes what a step was given.

        Args:
            step: Number of the step, from 0.
            gradients: For each variable an array, a pair of the values and indices of
                slices, or None.
            learning_rate: Float, as evaluated for the step.
            loss: Float, if known.
            batch: Nested tuples, lists and dictionaries of arrays, if known.
            changed: Pairs of a variable's index and its value, where something else
                than the optimizer has changed it since the last step.
        """
        arrays = _Arrays()
        header = {
            "record": "gradients",
            "step": step,
            "gradients": [arrays.add_gradient(gradient) for gradient in gradients],
            "learning_rate": float(learning_rate),
            "loss": None if loss is None else float(loss),
            "batch": arrays.add_nested(batch, "batch"),
            "changed": [[index, arrays.add(value)] for index, value in changed],
        }
        self._write(header, arrays)

    def values(self, step, checksums, values=None, others=None):
        """Writes what a step came to.

        Args:
            step: Number of the step.
            checksums: For each variable the `checksum` of its value after the step.
            values: The values, a list of arrays, or None to leave them out.
            others: Values of the other variables in their order, or None.
        """
        arrays = _Arrays()
        header = {
            "record": "values",
            "step": step,
            "checksums": list(checksums),
            "values": arrays.add_all(values),
            "others": arrays.add_all(others),
        }
        self._write(header, arrays)

    def end(self, stopped=None):
        """Writes that no step follows, and closes the file.

        Args:
            stopped: Why, if it is not that all steps are recorded.
        """
        self._write({"record": "end", "stopped": stopped}, _Arrays())
        self._file.close()

    def close(self):
        """Closes the file without saying why; more steps might have followed."""
        self._file.close()

    def _write(self, header, arrays):
        header["arrays"] = arrays.described
        text = json.dumps(header, sort_keys=True).encode("utf-8")
        size, data_checksum = 0, 0
        for data in arrays.data:
            size += len(data)
            data_checksum = zlib.crc32(data, data_checksum)
        prefix = PREFIX.pack(
            len(text), size, zlib.crc32(text) & 0xFFFFFFFF, data_checksum & 0xFFFFFFFF
        )
        self._file.write(prefix + CHECKSUM.pack(zlib.crc32(prefix) & 0xFFFFFFFF))
        self._file.write(text)
        for data in arrays.data:
            self._file.write(data)
        self._file.flush()


def checksum(array):
    """Returns the CRC-32 of an array's bytes, little-endian and in C order."""
    return zlib.crc32(_bytes(np.asarray(array))) & 0xFFFFFFFF


def _bytes(array):
    """Returns the bytes of an array without copying them where they are in order."""
    native = ">" if sys.byteorder == "big" else "<"
    if array.dtype.byteorder.replace("=", native) == ">":
        array = array.byteswap()
    # As bytes: memory views know no bfloat16.
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


class _Arrays(object):
    """The arrays of one record."""

    def __init__(self):
        self.described = []
        self.data = []

    def add(self, array, name="array"):
        array = np.asarray(array)
        if array.dtype.name not in DTYPES:
            raise ValueError(
                "A recording holds arrays of %s. Received: %s of %s"
                % (", ".join(DTYPES), name, array.dtype.name)
            )
        self.described.append([array.dtype.name, list(array.shape)])
        self.data.append(_bytes(array))
        return len(self.described) - 1

    def add_all(self, values):
        return None if values is None else [self.add(value) for value in values]

    def add_gradient(self, gradient):
        if gradient is None:
            return None
        if isinstance(gradient, tuple):
            values, indices = gradient
            return {"values": self.add(values), "indices": self.add(indices)}
        return self.add(gradient)

    def add_nested(self, nested, name):
        if nested is None:
            return None
        if isinstance(nested, dict):
            pairs = [
                [key, self.add_nested(nested[key], "%s[%r]" % (name, key))]
                for key in sorted(nested)
            ]
            return {"dict": pairs}
        if isinstance(nested, (list, tuple)):
            kind = "tuple" if isinstance(nested, tuple) else "list"
            members = [
                self.add_nested(each, "%s[%d]" % (name, i))
                for i, each in enumerate(nested)
            ]
            return {kind: members}
        return self.add(nested, name)
