"""The upgrade of files: finding, decoding, comparing and writing them."""

import concurrent.futures
import contextlib
import dataclasses
import difflib
import functools
import os

from keras_rmsprop.migration.files import replacing
from keras_rmsprop.migration.source import (
    configurations,
    elsewhere,
    evidence,
    findings,
    project,
    reading,
)
from keras_rmsprop.migration.source.cells import lines_of
from keras_rmsprop.migration.source.mentions import mentions
from keras_rmsprop.migration.source.notebooks import upgrade_notebook
from keras_rmsprop.migration.source.options import Options
from keras_rmsprop.migration.source.upgrade import upgrade_text

# More files than this are worth another process, which takes as many at a time.
_MANY = 32


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

    In directories these are the files named `*.py`, `*.ipynb` and `*.gin`, and
    configurations (`*.yaml`, `*.json`, `*.sh` and the like), which stay and are looked
    at for the names of optimizers. Hidden directories, virtual environments, caches
    and links are passed over. A file that is named is taken whatever its name. Many
    files are shared among the processors.

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
    _project.cache_clear()  # Files may have changed since the last time.
    files = list(
        _distinct(
            (file, path)
            for path in map(os.fspath, paths)
            for file in reading.files_below(path)
        )
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
        status = os.stat(file)
        key = status.st_dev, status.st_ino
        if key not in seen:
            seen.add(key)
            if not os.access(file, os.R_OK):
                raise PermissionError(f"{file!r} is not readable.")
            yield file, given


@functools.lru_cache(maxsize=1)
def _project(top):
    return project.Project(top)


def _upgrade_file(found, options):
    """Returns a `FileUpgrade`, or None for a file that does not mention RMSProp.

    Args:
      found: the file, and the path by which it was found.
      options: an `Options`.
    """
    path, given = found
    with open(path, "rb") as file:
        data = file.read()
    if not mentions(data):
        return None
    top = given if os.path.isdir(given) else os.path.dirname(path)
    pinned = evidence.nearby(path, top)
    if pinned:
        assume, because = pinned
        options = dataclasses.replace(options, assume=assume, because=because)
    ending = os.path.splitext(path)[1]
    try:
        text, encoding = reading.decoded(data, ending)
    except (SyntaxError, LookupError, UnicodeError) as error:
        return FileUpgrade(
            path, findings.not_handled("", f"cannot be decoded: {error}")
        )
    beyond = None
    if os.path.isdir(given):
        beyond = elsewhere.Elsewhere(_project(given), path, options)
    if ending == reading.NOTEBOOK:
        upgrade = upgrade_notebook(text, options, beyond)
    elif ending == reading.GIN:
        upgrade = configurations.upgrade_gin(text, options)
    elif ending in configurations.ENDINGS:
        upgrade = configurations.settings(text)
    else:
        # Other files import from a package's __init__.py.
        keep_imports = os.path.basename(path) == "__init__.py"
        upgrade = upgrade_text(text, options, keep_imports, beyond)
    return FileUpgrade(path, upgrade, encoding)
