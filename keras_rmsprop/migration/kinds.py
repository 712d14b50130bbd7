"""Optimizers written as text, for the command line and for `compare` in Python."""

import ast
import importlib
import operator
import os

# Where the class of each kind is found.
CLASSES = {
    "keras": "keras.optimizers.RMSprop",
    "keras2": "tf_keras.optimizers.RMSprop",
    "legacy": "tf_keras.optimizers.legacy.RMSprop",
    "tf1": "tensorflow.compat.v1.train.RMSPropOptimizer",
    "keras-rmsprop": "keras_rmsprop.RMSprop",
    "keras-rmsprop-legacy": "keras_rmsprop.legacy.RMSprop",
    "compat": "compat_v1.train.RMSPropOptimizer",
}
# What TF1's class has no default for, as the others have it.
_DEFAULTS = {name: {"learning_rate": 0.001} for name in ("tf1", "compat")}
_WITHOUT_TF_KERAS = {
    "keras2": "keras-rmsprop:update_rule=keras2",
    "legacy": "keras-rmsprop-legacy",
}


def is_one(text):
    """Whether a text begins with a kind."""
    return text.partition(":")[0] in CLASSES


def parse(text):
    """Parses an optimizer given as text.

    Args:
        text: Such as `"tf1:learning_rate=0.01,momentum=0.9"`.

    Returns:
        The kind, and a dictionary of arguments.

    Raises:
        ValueError: If the text is not of that form.

    Example:

    >>> parse("keras-rmsprop:learning_rate=0.01,update_rule=tf1")
    ('keras-rmsprop', {'learning_rate': 0.01, 'update_rule': 'tf1'})
    """
    kind, _, arguments = text.partition(":")
    if not is_one(text):
        exists = os.path.exists(text)
        also = "a recording can only be the reference" if exists else "no file either"
        raise ValueError(
            "an optimizer given as text must start with one of "
            f"{', '.join(CLASSES)}. Received: {text!r} ({also})"
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
            "an optimizer given as text must be written KIND:NAME=VALUE,NAME=VALUE. "
            f"Received: {text!r}"
        ) from error


def _value(node):
    """Returns a literal, or the text of a bare word."""
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def build(text):
    """Returns the optimizer that a text stands for.

    Raises:
        ValueError: If the text, or an argument in it, is not as it should be.
    """
    kind, arguments = parse(text)
    root, _, path = CLASSES[kind].partition(".")
    try:
        cls = operator.attrgetter(path)(importlib.import_module(root))
    except ModuleNotFoundError as error:
        if error.name != "tf_keras":
            raise
        raise ValueError(
            f"the kind {kind!r} needs tf_keras: `pip install tf_keras`, or use "
            f"{_WITHOUT_TF_KERAS[kind]!r}"
        ) from error
    try:
        return cls(**{**_DEFAULTS.get(kind, {}), **arguments})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{kind}: {error}") from error
