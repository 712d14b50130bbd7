"""`keras-rmsprop recorder`: prints the file that records a run of an old program."""

import sys
from pathlib import Path

from keras_rmsprop.migration import recording

_EPILOG = """\
example:
  keras-rmsprop recorder > record_rmsprop.py

and in the program, wherever its TensorFlow runs:
  recorder = record_rmsprop.Recorder("run.rmsprop", steps=200)
  optimizer = recorder.wrap(optimizer)
"""


def add_arguments(parser):
    """Adds the arguments of the command to an argparse parser."""
    parser.description = (
        "Prints record_rmsprop.py. It needs NumPy and TensorFlow 1.4 or later, and "
        "writes what an RMSProp optimizer does to a file that this library reads."
    )
    parser.epilog = _EPILOG


def main(_):
    """Runs the command.

    Returns:
        The exit status.
    """
    path = Path(recording.__file__).with_name("record_rmsprop.py")
    sys.stdout.write(path.read_text(encoding="utf-8"))
    return 0
