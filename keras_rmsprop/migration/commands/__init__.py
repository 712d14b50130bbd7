"""The subcommands of `keras-rmsprop`, one module each.

A module has `add_arguments(parser)` and `main(args) -> int`, the exit status. It is
imported only when its command is called, and TensorFlow only where `main` needs it.
"""

import sys

from keras_rmsprop.migration.files import check_replaceable

try:
    # How shells complete a path: `parser.add_argument(...).complete = FILE`.
    from shtab import DIRECTORY, FILE
except ModuleNotFoundError:
    DIRECTORY = FILE = None


def check_output(option, path):
    """Raises ValueError where the file that an option names cannot be written.

    Args:
        option: Name of the option, without dashes.
        path: What was given for it, or None.
    """
    if path is None:
        return
    try:
        check_replaceable(path)
    except OSError as error:
        raise ValueError(f"--{option} must name a file to write: {error}") from error


def explain(command, error):
    """Prints on standard error why a command failed.

    Args:
        command: Name of the command.
        error: An exception, or a text.
    """
    if isinstance(error, OSError) and error.filename and error.strerror:
        error = f"{error.filename!r}: {error.strerror}."
    print(f"keras-rmsprop {command}: {error}", file=sys.stderr)
