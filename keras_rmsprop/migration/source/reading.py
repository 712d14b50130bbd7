"""Which files there are, and what text they hold."""

import io
import os
import tokenize

from keras_rmsprop.migration.source import configurations

NOTEBOOK = ".ipynb"
GIN = ".gin"
_ENDINGS = (".py", NOTEBOOK, GIN, *configurations.ENDINGS)
_SKIPPED_DIRECTORIES = frozenset({"__pycache__", "node_modules", "site-packages"})


def files_below(path, endings=_ENDINGS):
    """Yields a file that is named, or those with some endings in a directory.

    Raises:
      OSError: the path does not exist or cannot be read.
    """
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise FileNotFoundError(f"{path!r} does not exist.")
        if not os.path.isfile(path):
            raise OSError(f"{path!r} is neither a file nor a directory.")
        yield path
        return
    for directory, below, names in os.walk(path, onerror=_raise):
        below[:] = sorted(
            name for name in below if _is_walked(os.path.join(directory, name))
        )
        for name in sorted(names):
            file = os.path.join(directory, name)
            if name.endswith(endings) and _is_plain(file):
                yield file


def decoded(data, ending):
    """Returns the text of a file, and its encoding.

    Args:
      data: the bytes of the file.
      ending: that of its name; all but `_ENDINGS` are taken for Python.

    Raises:
      SyntaxError, LookupError, UnicodeError: it cannot be decoded, or would not be the
        same bytes again.
    """
    encoding = "utf-8"
    if ending not in _ENDINGS[1:]:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    text = data.decode(encoding)
    if text.encode(encoding) != data:
        raise UnicodeError("its bytes are no canonical form of its text")
    return text, encoding


def _raise(error):
    raise error


def _is_walked(directory):
    name = os.path.basename(directory)
    return not (
        name.startswith(".")
        or name in _SKIPPED_DIRECTORIES
        or os.path.islink(directory)
        or os.path.exists(os.path.join(directory, "pyvenv.cfg"))
    )


def _is_plain(file):
    return os.path.isfile(file) and not os.path.islink(file)
