"""The command `keras-rmsprop`."""

import argparse
import difflib
import importlib
import os
import platform
import re
import sys

from absl import flags

import keras_rmsprop
from keras_rmsprop.migration.extras import INSTALL
from keras_rmsprop.migration.tables import filled

COMMANDS = {
    "build-kernels": "compile kernels that make steps on CPUs faster",
    "compare": "train with two optimizers; say how far they part and why",
    "completion": "print what makes a shell complete this command",
    "convert": "write the optimizer state of a checkpoint as plain arrays",
    "inspect": "say what optimizer state a file holds, and how to go on",
    "recorder": "print the file that records a run of an old program",
    "upgrade": "rewrite code that uses RMSProp of TF1 or older Keras",
}
_EXAMPLES = """\
examples:
  keras-rmsprop upgrade train.py           what would change in a TF1 script
  keras-rmsprop inspect run/model.ckpt-100
  keras-rmsprop compare tf1:momentum=0.9 keras:momentum=0.9
"""


def parser(described):
    """Returns the parser of the command line.

    Args:
        described: The commands whose arguments it is to know; their modules are
            imported.
    """
    made = argparse.ArgumentParser(
        prog="keras-rmsprop",
        usage="keras-rmsprop COMMAND ...",
        description="Moves RMSProp training between TF1, OptimizerV2 and Keras 3.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument(
        "--version",
        action="store_true",
        help="show what is installed, and whether native kernels are in use",
    )
    commands = made.add_subparsers(
        title="commands (`keras-rmsprop COMMAND --help` explains one)",
        dest="command",
        metavar="COMMAND",
        prog=made.prog,
    )
    for name, summary in COMMANDS.items():
        command = commands.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name in described:
            module = importlib.import_module(
                f"keras_rmsprop.migration.commands.{name.replace('-', '_')}"
            )
            module.add_arguments(command)
            command.description = filled(command.description)
            command.set_defaults(main=module.main, parser=command)
    return made


def _parse(argv):
    called = next((word for word in argv[1:] if not word.startswith("-")), None)
    try:
        made = parser([called])
    except ModuleNotFoundError as error:
        sys.exit(_missing(error))
    if called is not None and called not in COMMANDS:
        made.error(f"there is no command {called!r}.{_meant([called], COMMANDS)}")
    args, unknown = made.parse_known_args(argv[1:])
    if unknown:
        asked = getattr(args, "parser", made)
        known = re.findall(r"--[a-z-]+", asked.format_help())
        asked.error(f"unknown: {' '.join(unknown)}.{_meant(unknown, known)}")
    if args.command is None:
        args.main = _version if args.version else lambda _: made.print_help()
    return args


def _meant(words, known):
    """Returns a question for what was meant, or nothing."""
    close = [
        match
        for word in words
        for match in difflib.get_close_matches(word.partition("=")[0], known, 1)
    ]
    return f" Did you mean {', '.join(close)}?" if close else ""


def _version(_):
    from keras_rmsprop.migration.starting import load_tensorflow

    load_tensorflow()
    import keras
    import tensorflow as tf

    from keras_rmsprop.core.native import library

    print(f"keras-rmsprop  {keras_rmsprop.__version__}")
    print(f"Python         {platform.python_version()}")
    print(f"TensorFlow     {tf.__version__}")
    print(f"Keras          {keras.__version__}, on {keras.backend.backend()}")
    print(filled(f"kernels        {library.find().reason}", " " * 15))


def _main(args):
    try:
        status = args.main(args)
        sys.stdout.flush()
    except ModuleNotFoundError as error:
        return _missing(error)
    except BrokenPipeError:
        # The reader has had enough, as in `keras-rmsprop upgrade . | head`. What is
        # still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _missing(error):
    print(
        f"keras-rmsprop: the module {error.name!r} is missing; {INSTALL} installs all "
        "that this needs.",
        file=sys.stderr,
    )
    return 2


def run():
    """Runs the command line in `sys.argv` and exits."""
    for stream in (sys.stdout, sys.stderr):
        # A path or a line of code may hold what the terminal cannot show.
        stream.reconfigure(errors="backslashreplace")
    args = _parse(sys.argv)
    # What `compare` is told to import may read flags of its own: they have defaults.
    flags.FLAGS.mark_as_parsed()
    sys.exit(_main(args))


if __name__ == "__main__":
    run()
