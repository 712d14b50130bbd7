"""The command `keras-rmsprop`."""

import argparse
import importlib
import os
import sys

from absl import flags

COMMANDS = {
    "build-kernels": "compile kernels that make steps on CPUs faster",
    "compare": "train with two optimizers and say how far they differ, and why",
    "convert": "read optimizer state from a checkpoint or file and write it plainly",
    "inspect": "say what optimizer state a file holds, and how to go on from it",
    "recorder": "print the file that records a run of an old program",
    "upgrade": "rewrite source code that uses RMSProp of TF1, tf.keras or legacy Keras",
}


def _parser(argv):
    """Returns a parser that knows the arguments of the command in `argv` only."""
    parser = argparse.ArgumentParser(
        prog="keras-rmsprop",
        description="Moves RMSProp training between TF1, OptimizerV2 and Keras 3.",
        epilog="`keras-rmsprop COMMAND --help` explains a command.",
    )
    commands = parser.add_subparsers(
        dest="command", metavar="COMMAND", required=True, title="commands"
    )
    called = next((word for word in argv[1:] if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name == called:
            module = importlib.import_module(
                f"keras_rmsprop.migration.commands.{name.replace('-', '_')}"
            )
            module.add_arguments(command)
            command.set_defaults(main=module.main)
    return parser


def _parse(argv):
    try:
        parser = _parser(argv)
    except ModuleNotFoundError as error:
        sys.exit(_missing(error))
    return parser.parse_args(argv[1:])


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
        f"keras-rmsprop: the module {error.name!r} is missing; "
        "`pip install keras-rmsprop[migration]` installs all that this needs.",
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
