"""The strings in an HDF5 file, looked at before its library reads them.

Strings stand in heaps, and attributes refer to them. The library walks a heap from
object to object, and never comes to an end where a damaged object has no size. It also
believes the length that a reference claims before it looks for the string, and that any
number of references to one string are meant.

The layout is that of the HDF5 File Format Specification: global heaps, and the
attribute, datatype and dataspace messages.
"""

import io
import math
import mmap
import re
import struct

_HEAP = b"GCOL\x01\0\0\0"
_HEAP_HEADER = 16
_REFERENCE = 16
# Those that are read of any file. Lists may be in pieces, which have numbers.
_ATTRIBUTES = (
    b"weight_names",
    b"layer_names",
    b"training_config\0",
    b"dtype\0",
    b"name\0",
)
_NAME = re.compile(rb"([a-z_]+[0-9]*)\0")
_VARIABLE_LENGTH = 9


def bytes_of_strings(file):
    """Returns how much memory the strings that attributes refer to would take.

    Args:
        file: Path, or `io.BytesIO`.

    Raises:
        ValueError: If the library would not come to an end, or a reference claims more
            than the string it refers to.
    """
    if isinstance(file, io.BytesIO):
        return _bytes_of_strings(file.getvalue())
    with open(file, "rb") as opened:
        # An empty file cannot be mapped.
        if not opened.read(1):
            return 0
        with mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _bytes_of_strings(data)


def _bytes_of_strings(data):
    heaps = _heaps(data)
    total = 0
    for match in filter(None, (_NAME.match(data, at) for at in _found(data))):
        for length, heap, index in _references(data, match):
            size = heaps.get(heap, {}).get(index, 0)
            if length > size:
                raise ValueError(
                    f"{length} bytes are claimed for a string of {size}, in the "
                    f"attribute {match[1].decode()!r}"
                )
            total += length
    return total


def _found(data):
    """Yields where names of attributes begin."""
    for name in _ATTRIBUTES:
        at = data.find(name)
        while at >= 0:
            yield at
            at = data.find(name, at + 1)


def _heaps(data):
    """Returns the sizes of the objects by index, of each heap by its address."""
    heaps = {}
    at = data.find(_HEAP)
    while at >= 0:
        sizes = heaps[at] = {}
        (size,) = struct.unpack("<Q", data[at + 8 : at + 16].ljust(8, b"\0"))
        end = min(at + size, len(data))
        position = at + _HEAP_HEADER
        while position + _HEAP_HEADER <= end:
            index, _, _, length = struct.unpack_from("<HHIQ", data, position)
            if index:
                sizes[index] = length
                length = _HEAP_HEADER + _padded(length)
            elif not length:
                raise ValueError(f"the heap at byte {at} has an object without a size")
            position += length
        at = data.find(_HEAP, at + 1)
    return heaps


def _references(data, match):
    """Yields length, heap and index of the strings of an attribute of this name.

    Nothing if what was found is no attribute, or one whose bytes stand in it.
    """
    name = match.start()
    # The third version has a byte for the encoding of the name.
    for version, header, pad in ((1, 8, _padded), (2, 8, int), (3, 9, int)):
        start = name - header
        if start < 0 or data[start] != version:
            continue
        sizes = struct.unpack_from("<HHH", data, start + 2)
        if sizes[0] != len(match[0]):
            continue
        datatype, dataspace, content = _cumulated(name, map(pad, sizes))
        if content > len(data) or data[datatype] & 15 != _VARIABLE_LENGTH:
            continue
        count = min(_count(data, dataspace), (len(data) - content) // _REFERENCE)
        for i in range(count):
            yield struct.unpack_from("<IQI", data, content + i * _REFERENCE)


def _count(data, dataspace):
    """Returns the number of elements that a dataspace message tells of."""
    version, rank = data[dataspace], data[dataspace + 1]
    dimensions = dataspace + (8 if version == 1 else 4)
    if dimensions + 8 * rank > len(data):
        return 0
    return math.prod(struct.unpack_from(f"<{rank}Q", data, dimensions))


def _cumulated(start, sizes):
    ends = []
    for size in sizes:
        start += size
        ends.append(start)
    return ends


def _padded(length):
    return (length + 7) // 8 * 8
