"""What a caller may ask of an upgrade."""

import dataclasses

TARGETS = {
    "keras-rmsprop": "keras_rmsprop.RMSprop, the Keras 3 API with the old numerics",
    "keras": "stock keras.optimizers.RMSprop, only where the numerics are the same",
    "compat": "the same API as before, from compat_v1 and keras_rmsprop.legacy",
}

ASSUMPTIONS = {
    "tf1.4": "the class of Keras 1.x and 2.0 and tf.keras 1.4: lr, epsilon=1e-08",
    "tf2.10": "OptimizerV2's class, TensorFlow 2.0 to 2.10: epsilon=1e-07",
    "keras2": "the class of Keras 2.11 to 2.15, TensorFlow 2.11 to 2.15",
    "keras3": "the class of Keras 3, TensorFlow 2.16 and later",
}

DIFFERENCES = {
    "initial-accumulator": "the mean square starts at 0 and not at 1",
    "epsilon-placement": "epsilon is added inside the square root and not outside",
    "sparse-gradients": (
        "every row of an embedding decays at every step, and duplicate indices are "
        "squared before they are summed"
    ),
}


@dataclasses.dataclass(frozen=True)
class Options:
    """The choices of one upgrade.

    Attributes:
      to: the target, a key of `TARGETS`.
      assume: what an ambiguous spelling meant, a key of `ASSUMPTIONS`.
      accept: differences that may change, keys of `DIFFERENCES`. They only matter
        for `to="keras"`.
      because: why `assume` is what it is, where something beside the code says so.

    Raises:
      ValueError: a value is none of those allowed.
      TypeError: `accept` is a str.

    Example:

    >>> Options(to="torch")
    Traceback (most recent call last):
    ValueError: to='torch' is not allowed; use 'keras-rmsprop', 'keras' or 'compat'.
    """

    to: str = "keras-rmsprop"
    assume: str = "tf2.10"
    accept: frozenset = frozenset()
    because: str = ""

    def __post_init__(self):
        if isinstance(self.accept, str):
            raise TypeError(f"accept={self.accept!r} must be a collection of names.")
        object.__setattr__(self, "accept", frozenset(self.accept))
        _check("to", self.to, TARGETS)
        _check("assume", self.assume, ASSUMPTIONS)
        for name in sorted(self.accept, key=str):
            _check("accept", name, DIFFERENCES)


def _check(argument, value, allowed):
    if value not in allowed:
        *others, last = map(repr, allowed)
        raise ValueError(
            f"{argument}={value!r} is not allowed; use {', '.join(others)} or {last}."
        )
