"""`keras-rmsprop compare`: trains with two optimizers and says how they differ."""

import os

from keras_rmsprop.migration import kinds
from keras_rmsprop.migration.commands import FILE, check_output, explain, importing
from keras_rmsprop.migration.starting import load_tensorflow

_EPILOG = """\
an optimizer:
  KIND or KIND:ARGUMENT=VALUE,ARGUMENT=VALUE,... where a value is a Python
  number, string, True, False or None, strings also without quotes. Arguments
  left out have their defaults; TF1's learning rate, which has none, is 0.001.
  KIND is one of

{kinds}

  keras2 and legacy need tf_keras. REFERENCE may also be the path of a
  recording (see `keras-rmsprop recorder`).

a model and data of your own:
  --model names a function without arguments that returns a built Keras model,
  compiled with a loss. --data names a function that returns (x, y), two
  arrays, or an iterable of such batches; or an .npz file with the arrays x and
  y. Modules are looked for in the current directory first.

examples:
  keras-rmsprop compare tf1 keras
  keras-rmsprop compare tf1:learning_rate=0.01,momentum=0.9 \\
      keras-rmsprop:learning_rate=0.01,momentum=0.9,update_rule=tf1
  keras-rmsprop compare tf1 keras --model train:build_model --data train.npz
  keras-rmsprop compare run.rmsprop keras-rmsprop:update_rule=tf1

exit status:
  0  the optimizers are equivalent
  1  they differ
  2  wrong usage, or a file that cannot be written
""".format(
    kinds="\n".join(f"  {name:20}  {cls}" for name, cls in kinds.CLASSES.items())
)


def add_arguments(parser):
    """Adds the arguments of the command to an argparse parser."""
    parser.description = (
        "Trains a small model with two RMSProp optimizers, from the same start on "
        "the same batches, and prints how far they come apart, why, and what makes "
        "them equal. It trains on scikit-learn's digits and, where the two treat "
        "sparse gradients differently, on text that ships with Python; or on a model "
        "and data of yours."
    )
    parser.epilog = _EPILOG
    for name, what in (
        ("reference", "the optimizer to hold against, or a recorded run"),
        ("candidate", "the other optimizer"),
    ):
        parser.add_argument(
            name, metavar=name.upper(), help=what
        ).complete = _KIND_OR_FILE
    parser.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="steps to train (default: 100, or all that a recording holds)",
    )
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="length of a batch (default: 32)"
    )
    parser.add_argument(
        "--model", metavar="MODULE:FUNCTION", help="train this model instead"
    )
    parser.add_argument(
        "--data",
        metavar="MODULE:FUNCTION or FILE.NPZ",
        help="on this data; needed with --model",
    ).complete = FILE
    parser.add_argument(
        "--rtol",
        type=float,
        metavar="R",
        help="relative tolerance (default: by dtype, 1e-4 in float32)",
    )
    parser.add_argument(
        "--atol",
        type=float,
        metavar="A",
        help="absolute tolerance (default: by dtype, 1e-5 in float32)",
    )
    parser.add_argument(
        "--plot",
        metavar="OUT.PNG",
        help="also draw the divergence and what is left of it without each cause",
    ).complete = FILE
    parser.add_argument(
        "--json", metavar="OUT.JSON", help="also write all figures"
    ).complete = FILE


# Defined in the scripts that `keras-rmsprop completion` prints.
_KIND_OR_FILE = dict.fromkeys(("bash", "zsh"), "_keras_rmsprop_kinds")
PREAMBLE = {
    "bash": f"""
_keras_rmsprop_kinds() {{
  compgen -W "{" ".join(kinds.CLASSES)}" -- "$1"
  compgen -f -- "$1"
}}
""",
    "zsh": f"""
_keras_rmsprop_kinds() {{
  _alternative 'kinds:kind:({" ".join(kinds.CLASSES)})' 'files:file:_files'
}}
""",
}


def main(args):
    """Runs the command.

    Args:
        args: The parsed arguments.

    Returns:
        The exit status.
    """
    try:
        found = _compare(args)
        print(found.report(), end="")
        if args.plot:
            found.plot(args.plot)
        if args.json:
            found.to_json(args.json)
    except ModuleNotFoundError:
        raise
    except (ImportError, OSError, TypeError, ValueError) as error:
        explain("compare", error)
        return 2
    return 0 if found.equivalent else 1


def _compare(args):
    check_output("plot", args.plot)
    check_output("json", args.json)
    # It takes seconds to load, and a mistake in what was typed none to see.
    kinds.parse(args.candidate)
    if not os.path.isfile(args.reference):
        kinds.parse(args.reference)
    load_tensorflow()
    from keras_rmsprop.migration.comparison import compare, plotting

    if args.plot:
        plotting.format_of(args.plot)  # Before any training.
    return compare(
        args.reference,
        args.candidate,
        model=args.model and importing.called("--model", args.model),
        data=args.data and importing.data(args.data),
        steps=args.steps,
        batch_size=args.batch_size,
        rtol=args.rtol,
        atol=args.atol,
    )
