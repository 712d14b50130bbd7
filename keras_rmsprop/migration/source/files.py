"""The upgrade of files: finding, decoding, comparing and writing them."""

import concurrent.futures
import contextlib
import dataclasses
import difflib
import functools
import io
import os
import tokenize

from keras_rmsprop.migration.files import replacing
from keras_rmsprop.migration.source import evidence, findings
from keras_rmsprop.migration.source.cells import lines_of
from keras_rmsprop.migration.source.mentions import mentions
from keras_rmsprop.migration.source.notebooks import upgrade_notebook
from keras_rmsprop.migration.source.options import Options
from keras_rmsprop.migration.source.upgrade import upgrade_text

# More files than this are worth another process, which takes as many at a time.
_MANY = 32
_SKIPPED_DIRECTORIES = frozenset({"__pycache__", "node_modules", "site-packages"})


@dataclasses.dataclass(frozen=True)
class FileUpgrade:
    """The outcome for one file.

    Attributes:
      path: the path of the file, as given or found.
      upgrade: its `Upgrade`.
      encoding: how the file is encoded; None where that is unknown.
    """

    path: str
    upgrade: findings.Upgrade
    encoding: str | None = None

    def diff(self):
        """Returns a unified diff, empty where nothing changes."""
        lines = difflib.unified_diff(
            lines_of(self.upgrade.before),
            lines_of(self.upgrade.code),
            self.path,
            self.path,
        )
        return "".join(
            line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
            for line in lines
        )

    def write(self):
        """Replaces the file by its upgrade, in one step.

        The file keeps its mode and its encoding; a link stays a link. An
        interrupted write leaves the file as it was.

        Raises:
          OSError: the file cannot be written.
        """
        with replacing(self.path) as file:
            file.write(self.upgrade.code.encode(self.encoding))


def upgrade_paths(paths, progress=None, **options):
    """Upgrades the Python code among `paths` and below them, writing nothing.

    In directories these are the files named `*.py` and `*.ipynb`. Hidden directories,
    virtual environments, caches and links are passed over. A file that is named is
    taken whatever its name. Many files are shared among the processors.

    Args:
      paths: files and directories.
      progress: a function of an iterator and of how many items it has, a progress
        bar for one, that returns an iterator over the same items; or None.
      **options: as in `upgrade_source`.

    Yields:
      A `FileUpgrade` for each file that mentions RMSProp, by path; call its `write()`
      to write it. Files that cannot be decoded or parsed come unchanged, with a
      "not handled" finding.

    Raises:
      OSError: a path does not exist or cannot be read; before anything is yielded.
    """
    options = Options(**options)
    files = list(
        _distinct((file, path) for path in paths for file in _files(os.fspath(path)))
    )
    upgrade_file = functools.partial(_upgrade_file, options=options)
    with contextlib.ExitStack() as stack:
        if len(files) > _MANY:
            executor = concurrent.futures.ProcessPoolExecutor()
            # Who stops listening wants no more of it.
            stack.callback(executor.shutdown, cancel_futures=True)
            upgrades = executor.map(upgrade_file, files, chunksize=_MANY)
        else:
            upgrades = map(upgrade_file, files)
        if progress is not None:
            upgrades = progress(upgrades, len(files))
        yield from filter(None, upgrades)


def _distinct(files):
    seen = set()
    for file, given in files:
        real = os.path.realpath(file)
        if real not in seen:
            seen.add(real)
            if not os.access(file, os.R_OK):
                raise PermissionError(f"{file!r} is not readable.")
            top = given if os.path.isdir(given) else os.path.dirname(file)
            yield file, top


def _files(path):
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
            if name.endswith((".py", ".ipynb")) and _is_plain(file):
                yield file


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


def _upgrade_file(found, options):
    """Returns a `FileUpgrade`, or None for a file that does not mention RMSProp.

    Args:
      found: the file, and the directory above which nothing is of interest.
      options: an `Options`.
    """
    path, top = found
    with open(path, "rb") as file:
        data = file.read()
    if not mentions(data):
        return None
    pinned = evidence.nearby(path, top)
    if pinned:
        assume, because = pinned
        options = dataclasses.replace(options, assume=assume, because=because)
    is_notebook = path.endswith(".ipynb")
    try:
        encoding = "utf-8"
        if not is_notebook:
            encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        text = data.decode(encoding)
        if text.encode(encoding) != data:
            raise UnicodeError("its bytes are no canonical form of its text")
    except (SyntaxError, LookupError, UnicodeError) as error:
        return FileUpgrade(
            path, findings.not_handled("", f"cannot be decoded: {error}")
        )
    if is_notebook:
        return FileUpgrade(path, upgrade_notebook(text, options), encoding)
    # Other files import from a package's __init__.py.
    keep_imports = os.path.basename(path) == "__init__.py"
    return FileUpgrade(path, upgrade_text(text, options, keep_imports), encoding)
