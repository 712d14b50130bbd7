"""The records of a recording's file, checked against its size before they are read.

A record is a header in JSON and the bytes of arrays, each with a checksum.
`docs/recording.md` describes them byte by byte.
"""

import contextlib
import dataclasses
import json
import math
import os
import struct
import zlib
from typing import NamedTuple

import ml_dtypes
import numpy as np

MAGIC = b"keras_rmsprop.Recording 1\n"
_ANY_VERSION = b"keras_rmsprop.Recording "
_PREFIX = struct.Struct("<IQII")
_CHECKSUM = struct.Struct("<I")
_NAMES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
_DTYPES = {
    **{name: np.dtype(name).newbyteorder("<") for name in _NAMES},
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
# NumPy's own limit in versions before 2.
_MAX_DIMENSIONS = 32


class ArraySpec(NamedTuple):
    """What a header says about an array."""

    dtype: np.dtype
    shape: tuple

    @property
    def size(self):
        """The bytes that it takes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class Record:
    """A record whose arrays are yet to be read.

    Attributes:
        number: Its number in the file, from 0.
        offset: Where it starts.
        header: Dictionary.
        specs: List of an `ArraySpec` for each of its arrays.
        checksum: Of its data.
        data_offset: Where its data starts.
        end: Where it ends.
    """

    number: int
    offset: int
    header: dict
    specs: list
    checksum: int
    data_offset: int
    end: int

    def read(self, file):
        """Returns the arrays.

        Raises:
            ValueError: If the data is not what was written.
        """
        file.seek(self.data_offset)
        checksum, arrays = 0, []
        for spec in self.specs:
            data = bytearray(spec.size)
            if file.readinto(data) != spec.size:
                raise ValueError("the file has become shorter")
            checksum = zlib.crc32(data, checksum)
            arrays.append(np.frombuffer(data, spec.dtype).reshape(spec.shape))
        if checksum != self.checksum:
            raise ValueError("its data is damaged")
        return arrays


def check_magic(file):
    """Raises ValueError where a file does not begin as a recording of this version."""
    found = file.read(len(MAGIC))
    if found == MAGIC:
        return
    if MAGIC.startswith(found):
        raise ValueError("it ends before its first record")
    if found.startswith(_ANY_VERSION):
        version = found[len(_ANY_VERSION) :].decode("ascii", "backslashreplace")
        raise ValueError(
            f"its format has the version {version.strip()!r}, and this library reads "
            "version 1"
        )
    raise ValueError(f"it begins with {found!r} instead of {MAGIC!r}")


def scan(file):
    """Yields the records of a file; at one that the file's end cuts off, None.

    Args:
        file: A binary file.

    Yields:
        `Record`, their data unread.

    Raises:
        ValueError: If a record is damaged; it says which, and where it starts.
    """
    size = file.seek(0, os.SEEK_END)
    offset, number = len(MAGIC), 0
    while offset < size:
        record = read_record(file, number, offset)
        yield record
        if record is None:
            return
        offset, number = record.end, number + 1


@contextlib.contextmanager
def located(record):
    """Makes errors say in which record they arose."""
    with _located(record.number, record.offset):
        yield


@contextlib.contextmanager
def _located(number, offset):
    try:
        yield
    except ValueError as error:
        raise ValueError(f"record {number} at byte {offset}: {error}") from error


def read_record(file, number, offset):
    """Returns the `Record` at an offset, or None where the file's end cuts it off.

    Raises:
        ValueError: If it is damaged.
    """
    with _located(number, offset):
        return _record(file, number, offset)


def _record(file, number, offset):
    size = file.seek(0, os.SEEK_END)
    file.seek(offset)
    prefix = file.read(_PREFIX.size + _CHECKSUM.size)
    if len(prefix) < _PREFIX.size + _CHECKSUM.size:
        return None
    (expected,) = _CHECKSUM.unpack(prefix[_PREFIX.size :])
    if zlib.crc32(prefix[: _PREFIX.size]) != expected:
        raise ValueError("its prefix is damaged")
    sizes = _PREFIX.unpack(prefix[: _PREFIX.size])
    header_size, data_size, header_checksum, data_checksum = sizes
    header_offset = offset + len(prefix)
    data_offset = header_offset + header_size
    # Sizes that are damaged were found above: these are those that were written.
    if data_offset + data_size > size:
        return None
    text = file.read(header_size)
    if zlib.crc32(text) != header_checksum:
        raise ValueError("its header is damaged")
    header = _parsed(text)
    return Record(
        number,
        offset,
        header,
        _specs(header, data_size),
        data_checksum,
        data_offset,
        data_offset + data_size,
    )


def _parsed(text):
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header


def _specs(header, data_size):
    """Returns what a header says about the record's arrays."""
    described = header.get("arrays")
    if not isinstance(described, list):
        raise ValueError("its header has no list of arrays")
    specs = [_spec(each) for each in described]
    total = sum(spec.size for spec in specs)
    if total != data_size:
        raise ValueError(f"its arrays take {total} bytes, and it has {data_size}")
    return specs


def _spec(described):
    if not (isinstance(described, list) and len(described) == 2):
        raise ValueError(f"its header describes an array as {described!r}")
    name, shape = described
    if not isinstance(name, str) or name not in _DTYPES:
        raise ValueError(f"its header has an array of the unknown dtype {name!r}")
    if not _is_shape(shape):
        raise ValueError(f"its header has an array of the shape {shape!r}")
    return ArraySpec(_DTYPES[name], tuple(shape))


def _is_shape(shape):
    return (
        isinstance(shape, list)
        and len(shape) <= _MAX_DIMENSIONS
        and all(type(length) is int and 0 <= length < 2**63 for length in shape)
    )
