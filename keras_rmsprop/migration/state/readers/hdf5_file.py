"""HDF5 files of strangers: what is in them, at no more memory than their size."""

import contextlib
import math

import h5py
import ml_dtypes
import numpy as np

from keras_rmsprop.migration.state.readers import hdf5_strings


@contextlib.contextmanager
def opened(file, origin, size):
    """Yields a `File`; whatever goes wrong in reading it names the origin.

    Args:
        file: Path or binary file.
        origin: Path of the file, for messages.
        size: Number of its bytes.
    """
    try:
        strings = hdf5_strings.bytes_of_strings(file)
        if strings > size:
            raise ValueError(f"its strings would take {strings} bytes of memory")
        with h5py.File(file, "r") as opened_file:
            yield File(opened_file, origin, size)
    # What HDF5 says of a damaged file depends on where the damage is, and h5py
    # passes it on as almost any of Python's errors.
    except Exception as error:
        if isinstance(error, ValueError) and origin in str(error):
            raise
        raise ValueError(
            f"{origin!r} is truncated or damaged, or is no HDF5 file: "
            f"{type(error).__name__}: {error}"
        ) from error


class File:
    """An open HDF5 file.

    Its groups and datasets go by their paths. Only what lies in the file itself is
    found: HDF5 can refer to other files, which a file from elsewhere has no business
    with, and to other parts of a file, which no Keras does.
    """

    def __init__(self, file, origin, size):
        self._file = file
        self._origin = origin
        self._size = size
        self._left = size

    def __contains__(self, path):
        return self._at(path) is not None

    def members(self, path):
        """Returns the names in a group, an empty list if there is no such group."""
        group = self._at(path)
        return list(group) if isinstance(group, h5py.Group) else []

    def groups_named(self, name):
        """Returns the paths of all groups of this name."""
        found = []

        def visit(path, item):
            if isinstance(item, h5py.Group) and path.rpartition("/")[2] == name:
                found.append(path)

        self._file.visititems(visit)
        return found

    def array(self, path):
        """Returns a dataset as an array.

        Raises:
            ValueError: If it is no plain dataset of numbers, or takes more memory
                than the file has bytes that were not read yet.
        """
        item = self._at(path)
        if item is None:
            raise ValueError(f"{self._origin!r} has no dataset {path!r}.")
        if not isinstance(item, h5py.Dataset) or item.external or item.is_virtual:
            raise ValueError(f"{path!r} in {self._origin!r} is no plain dataset.")
        # Keras marks what HDF5 only knows as two bytes.
        is_bfloat16 = self._attribute(item, "dtype") == "bfloat16"
        is_bfloat16 = is_bfloat16 and item.dtype.itemsize == 2
        if item.shape is None or not (is_bfloat16 or item.dtype.kind in "fiuc"):
            raise ValueError(f"{path!r} in {self._origin!r} holds no numbers.")
        size = math.prod(item.shape) * item.dtype.itemsize
        # Keras writes datasets in one piece. Others may claim any shape: elements
        # that are not stored are made up in memory, as are those of a compressed one.
        if size > item.id.get_storage_size():
            raise ValueError(
                f"{path!r} in {self._origin!r} has {item.id.get_storage_size()} bytes "
                f"for {size} bytes of data: it is compressed or incomplete. Keras "
                "writes whole arrays; copy it so."
            )
        if size > self._left:
            raise ValueError(
                f"{path!r} in {self._origin!r} would take {size} bytes of memory, of "
                f"a file with {self._left} bytes that were not read yet."
            )
        self._left -= size
        value = np.array(item[()])
        return value.view(ml_dtypes.bfloat16) if is_bfloat16 else value

    def text(self, path, attribute):
        """Returns an attribute that is a string, or None if there is none."""
        item = self._at(path)
        value = None if item is None else self._attribute(item, attribute)
        if isinstance(value, bytes):
            value = value.decode()
        return value if isinstance(value, str) else None

    def texts(self, path, attribute):
        """Returns an attribute that is a list of strings, an empty list if none.

        Keras divides lists that are too long for HDF5 and numbers the pieces.
        """
        item = self._at(path)
        if attribute in item.attrs:
            pieces = [self._attribute(item, attribute)]
        else:
            pieces = []
            while f"{attribute}{len(pieces)}" in item.attrs:
                pieces.append(self._attribute(item, f"{attribute}{len(pieces)}"))
        texts = [text for piece in pieces for text in np.ravel(piece).tolist()]
        texts = [text.decode() if isinstance(text, bytes) else text for text in texts]
        if not all(isinstance(text, str) for text in texts):
            raise ValueError(
                f"The {attribute} of {path!r} in {self._origin!r} are no names."
            )
        return texts

    def _attribute(self, item, name):
        """Returns the value of an attribute, None if there is none."""
        if name not in item.attrs:
            return None
        stored = item.attrs.get_id(name)
        size = math.prod(stored.shape or (1,)) * stored.get_type().get_size()
        if size > self._size:
            raise ValueError(
                f"The {name} of {item.name!r} in {self._origin!r} would take {size} "
                "bytes of memory."
            )
        return item.attrs[name]

    def _at(self, path):
        item = self._file
        for part in path.strip("/").split("/") if path.strip("/") else ():
            link = None
            if part not in ("", ".") and isinstance(item, h5py.Group):
                link = item.get(part, getlink=True)
            if not isinstance(link, h5py.HardLink):
                return None
            item = item[part]
        return item
