"""`keras-rmsprop convert`: reads optimizer state from a file and writes it plainly."""

import os

from keras_rmsprop.migration.commands import FILE, explain, reading
from keras_rmsprop.migration.files import check_replaceable
from keras_rmsprop.migration.waiting import waiting

_EPILOG = """\
exit status:
  0  done
  1  the source cannot be read, or does not tell what it holds
  2  wrong usage

Go on from OUT with keras_rmsprop.migration.resume(OUT, model).
`keras-rmsprop inspect SOURCE` says what that takes.
"""


def add_arguments(parser):
    """Adds the arguments of the command to an argparse parser."""
    parser.description = (
        "Reads the state of an RMSProp optimizer from a TF1 Saver checkpoint, a "
        "tf.train.Checkpoint, an .h5 file, or a Keras 3 .keras or .weights.h5 file, "
        "prints what was found, and writes it to OUT as an .npz file of plain arrays."
    )
    parser.epilog = _EPILOG
    reading.add_options(parser)
    parser.add_argument("out", metavar="OUT", help="the file to write").complete = FILE
    parser.add_argument(
        "--force", action="store_true", help="overwrite OUT if it exists"
    )


def main(args):
    """Runs the command.

    Args:
        args: The parsed arguments.

    Returns:
        The exit status.
    """
    if os.path.exists(args.out) and not args.force:
        explain("convert", f"{args.out!r} exists; --force overwrites it.")
        return 1
    try:
        check_replaceable(args.out)
        state = reading.read(args)
        with waiting(f"Writing {args.out}"):
            state.save(args.out)
    except (OSError, ValueError) as error:
        explain("convert", error)
        return 1
    print(state)
    print(f"Wrote {args.out}")
    return 0
