"""`keras-rmsprop build-kernels`: compiles kernels that make steps faster."""

import contextlib
import os
import pathlib
import tempfile
import time

from keras_rmsprop.migration.commands import DIRECTORY, explain
from keras_rmsprop.migration.files import replacing
from keras_rmsprop.migration.starting import load_tensorflow
from keras_rmsprop.migration.waiting import waiting

_EPILOG = """\
examples:
  keras-rmsprop build-kernels
  keras-rmsprop build-kernels --check

for an image, or a machine that several people use:
  keras-rmsprop build-kernels --output /opt/keras-rmsprop
  export KERAS_RMSPROP_KERNELS=/opt/keras-rmsprop

KERAS_RMSPROP_KERNELS=off leaves kernels aside.

exit status:
  0  built, or with --check in use
  1  not built, or with --check not in use
  2  wrong usage
"""


def add_arguments(parser):
    """Adds the arguments of the command to an argparse parser."""
    parser.description = (
        "Compiles kernels that take a step in one pass over memory on CPUs, for the "
        "TensorFlow that is installed, and tests them. A C++ compiler is needed, and "
        "about half a minute. From then on optimizers use them by themselves."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "--output",
        metavar="DIRECTORY",
        help="where to put them, instead of the user's cache; set "
        "KERAS_RMSPROP_KERNELS to the same directory to have them used",
    ).complete = DIRECTORY
    parser.add_argument(
        "--check", action="store_true", help="only say what is in use, and why"
    )


def main(args):
    """Runs the command.

    Args:
        args: The parsed arguments.

    Returns:
        The exit status.
    """
    load_tensorflow()
    from keras_rmsprop.core.native import building, library

    if args.check:
        if args.output:
            explain("build-kernels", "--check looks where optimizers do, not --output.")
            return 2
        found = library.find()
        print(found.reason)
        return 0 if found.ops else 1
    try:
        directory = pathlib.Path(args.output or library.directory())
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        library.check_trusted(directory)
        path = directory / library.file_name()
        _build(path, building)
    except (OSError, building.BuildError) as error:
        explain("build-kernels", error)
        return 1
    print(f"Installed {str(path)!r}.")
    if args.output and directory != library.directory():
        print(f"export {library.VARIABLE}={directory.resolve()}")
    return 0


def _build(path, building):
    with tempfile.TemporaryDirectory() as temporary:
        built = os.path.join(temporary, path.name)
        with _timed(f"Compiling with {' '.join(building.compiler())}"):
            building.compile_kernels(built)
        with _timed("Testing"):
            building.test_kernels(built)
        with replacing(path) as file:
            # Others may use it, and must not change it.
            os.fchmod(file.fileno(), 0o755)
            file.write(pathlib.Path(built).read_bytes())
        path.chmod(0o755)


@contextlib.contextmanager
def _timed(what):
    """Prints what has been done, and how long it took."""
    start = time.monotonic()
    with waiting(what):
        yield
    print(f"{what}: {time.monotonic() - start:.0f} s", flush=True)
