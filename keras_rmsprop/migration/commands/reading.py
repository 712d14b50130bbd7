"""The options of commands that read optimizer state, and errors in their terms."""

import argparse
import re

from keras_rmsprop.migration.commands import FILE
from keras_rmsprop.migration.starting import load_tensorflow
from keras_rmsprop.migration.waiting import waiting

# Options by the keyword arguments of `read_state` that they stand for.
_OPTIONS = {
    "optimizer_name": "--optimizer-name",
    "global_step": "--global-step",
    "centered": "--centered",
}


def add_options(parser):
    """Adds what says which state to read to an argparse parser."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a file, the prefix of a checkpoint, or the directory of checkpoints",
    ).complete = FILE
    parser.add_argument(
        "--optimizer-name",
        metavar="NAME",
        help="which optimizer to read, if a checkpoint has several: the name of a TF1 "
        "optimizer, or the path of an attribute in a tf.train.Checkpoint",
    )
    parser.add_argument(
        "--global-step",
        metavar="NAME",
        help="variable that counts the steps of a TF1 optimizer (default: global_step)",
    )
    parser.add_argument(
        "--centered",
        action=argparse.BooleanOptionalAction,
        help="whether the optimizer is centered, where a file does not tell",
    )
    parser.add_argument(
        "--iterations",
        type=_count,
        metavar="N",
        help="the number of steps taken, where a file does not tell",
    )


def _count(text):
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of steps")
    return int(text)


def hints(args):
    """Returns the keyword arguments of `read_state` that options gave."""
    given = {name: getattr(args, name) for name in _OPTIONS}
    return {name: value for name, value in given.items() if value is not None}


def read(args):
    """Returns the `OptimizerState` that parsed arguments mean.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it does not hold one state for certain. The message names
            options instead of keyword arguments.
    """
    # It takes seconds to load, and a wrong option none to see.
    load_tensorflow()
    from keras_rmsprop.migration.state import read_state

    try:
        with waiting(f"Reading {args.source}"):
            state = read_state(args.source, **hints(args))
    except ValueError as error:
        raise ValueError(in_options(str(error))) from error
    if args.iterations is not None:
        state.iterations = args.iterations
    return state


def in_options(text):
    """Returns a message with options in the place of the arguments of Python.

    Example:

    >>> in_options("`global_step` must name one. Received: global_step='v'")
    "--global-step must name one. Received: --global-step='v'"
    """
    for name, option in _OPTIONS.items():
        text = text.replace(f"`{name}`", option)
        text = re.sub(rf"\b{name}=None\b", f"no {option}", text)
        text = re.sub(rf"(?<![`\w-]){name}=", f"{option}=", text)
    return text.replace("`variables`", "`variables` (in Python)")
