"""`keras-rmsprop compare`: trains with two optimizers and says how they differ."""

import ast
import os

from keras_rmsprop.migration.commands import check_output, explain

_EPILOG = """\
a reference may also be the path of a recording (see `keras-rmsprop recorder`)

an optimizer:
  KIND or KIND:ARGUMENT=VALUE,ARGUMENT=VALUE,... where a value is a Python number,
  string, True, False or None, strings also without quotes, and KIND is one of

  keras                 keras.optimizers.RMSprop
  keras2                tf_keras.optimizers.RMSprop, where tf_keras is installed
  legacy                tf_keras.optimizers.legacy.RMSprop, likewise
  tf1                   tf.compat.v1.train.RMSPropOptimizer
  keras-rmsprop         keras_rmsprop.RMSprop
  keras-rmsprop-legacy  keras_rmsprop.legacy.RMSprop
  compat                compat_v1.train.RMSPropOptimizer

examples:
  keras-rmsprop compare tf1:learning_rate=0.01,momentum=0.9 \\
      keras-rmsprop:learning_rate=0.01,momentum=0.9,update_rule=tf1
  keras-rmsprop compare run.rmsprop keras-rmsprop:update_rule=tf1

exit status:
  0  the optimizers are equivalent
  1  they differ
  2  wrong usage, or a file that cannot be written
"""


def add_arguments(parser):
    """Adds the arguments of the command to an argparse parser."""
    parser.description = (
        "Trains a small model with two RMSProp optimizers, from the same start on "
        "the same batches, and prints how far they come apart, why, and what makes "
        "them equal. It trains on scikit-learn's digits and, where the two treat "
        "sparse gradients differently, on text that ships with Python."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "reference",
        metavar="REFERENCE",
        help="the optimizer to hold against, or a recorded run",
    )
    parser.add_argument("candidate", metavar="CANDIDATE", help="the other optimizer")
    parser.add_argument(
        "--steps",
        type=int,
        help="steps to train (default: 100, or all that a recording holds)",
    )
    parser.add_argument(
        "--rtol", type=float, help="relative tolerance (default: 1e-4, float32)"
    )
    parser.add_argument(
        "--atol", type=float, help="absolute tolerance (default: 1e-5, float32)"
    )
    parser.add_argument(
        "--plot", metavar="OUT.PNG", help="also draw divergence and losses"
    )
    parser.add_argument("--json", metavar="OUT.JSON", help="also write all figures")


def main(args):
    """Runs the command.

    Args:
        args: The parsed arguments.

    Returns:
        The exit status.
    """
    try:
        check_output("plot", args.plot)
        check_output("json", args.json)
        reference, candidate = args.reference, parse(args.candidate)
        if not os.path.isfile(reference):
            reference = _build(*parse(reference))
        candidate = _build(*candidate)
        # TensorFlow takes seconds to load, and a mistake in a spec none to see.
        from keras_rmsprop.migration.comparison import compare, plotting

        if args.plot:
            plotting.format_of(args.plot)  # Before any training.
        found = compare(
            reference, candidate, steps=args.steps, rtol=args.rtol, atol=args.atol
        )
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


def parse(spec):
    """Parses an optimizer given as text.

    Args:
        spec: Such as `"tf1:learning_rate=0.01,momentum=0.9"`.

    Returns:
        The kind, and a dictionary of arguments.

    Raises:
        ValueError: If the text is not of that form.

    Example:

    >>> parse("keras-rmsprop:learning_rate=0.01,update_rule=tf1")
    ('keras-rmsprop', {'learning_rate': 0.01, 'update_rule': 'tf1'})
    """
    kind, _, arguments = spec.partition(":")
    if kind not in _CLASSES:
        raise ValueError(
            f"an optimizer must start with one of {', '.join(_CLASSES)}. "
            f"Received: {spec!r}, which is no file of a recorded REFERENCE either"
        )
    try:
        call = ast.parse(f"f({arguments})", mode="eval").body
        named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        if not named or call.args:
            raise ValueError("not only NAME=VALUE")
        values = {word.arg: _value(word.value) for word in call.keywords}
        if None in values or len(values) < len(call.keywords):
            raise ValueError("a name is missing or repeated")
        return kind, values
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(
            f"an optimizer must be written KIND:NAME=VALUE,NAME=VALUE. "
            f"Received: {spec!r}"
        ) from error


def _value(node):
    """Returns a literal, or the text of a bare word."""
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def _keras():
    import keras

    return keras.optimizers.RMSprop


def _keras2():
    return _tf_keras("keras2", "keras-rmsprop:update_rule=keras2").RMSprop


def _legacy():
    return _tf_keras("legacy", "keras-rmsprop-legacy").legacy.RMSprop


def _tf_keras(kind, instead):
    try:
        import tf_keras
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the kind {kind!r} needs tf_keras: pip install tf_keras, or use "
            f"{instead!r}"
        ) from error
    return tf_keras.optimizers


def _tf1():
    import tensorflow as tf

    return tf.compat.v1.train.RMSPropOptimizer


def _keras_rmsprop():
    from keras_rmsprop import RMSprop

    return RMSprop


def _keras_rmsprop_legacy():
    from keras_rmsprop.legacy import RMSprop

    return RMSprop


def _compat():
    from compat_v1.train import RMSPropOptimizer

    return RMSPropOptimizer


_CLASSES = {
    "keras": _keras,
    "keras2": _keras2,
    "legacy": _legacy,
    "tf1": _tf1,
    "keras-rmsprop": _keras_rmsprop,
    "keras-rmsprop-legacy": _keras_rmsprop_legacy,
    "compat": _compat,
}


def _build(kind, arguments):
    try:
        return _CLASSES[kind]()(**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{kind}: {error}") from error
