"""What the arguments of `keras_rmsprop.RMSprop` may be."""

import functools
import math
import numbers

import keras
import numpy as np

from keras_rmsprop.update_rule import UpdateRule
from keras_rmsprop.validation import check_bool, check_choice, check_number


def check_around_the_update(
    weight_decay,
    clipnorm,
    clipvalue,
    global_clipnorm,
    ema_momentum,
    ema_overwrite_frequency,
    loss_scale_factor,
    gradient_accumulation_steps,
):
    """Checks the arguments of what Keras does around an update.

    Raises:
        ValueError: If one is out of range.
    """
    if weight_decay is not None:
        check_number("weight_decay", weight_decay)
    check_number("ema_momentum", ema_momentum, maximum=1.0)
    above_zero = {
        "clipnorm": clipnorm,
        "clipvalue": clipvalue,
        "global_clipnorm": global_clipnorm,
        "loss_scale_factor": loss_scale_factor,
    }
    for argument, value in above_zero.items():
        if value is not None:
            check_number(argument, value, above=0)
    _check_count("gradient_accumulation_steps", gradient_accumulation_steps, 2)
    _check_count("ema_overwrite_frequency", ema_overwrite_frequency, 1)


def _check_count(argument, value, minimum):
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if value is not None and not (is_integer and value >= minimum):
        raise ValueError(
            f"`{argument}` must be an integer >= {minimum}, or None. "
            f"Received: {argument}={value!r}"
        )


def checked_learning_rate(value):
    """Returns a float, schedule or callable; the setter also takes tensors."""
    if isinstance(value, (numbers.Real, np.number, np.ndarray)):
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value.item()
        return float(check_number("learning_rate", value, minimum=-math.inf))
    if callable(value) and not isinstance(value, type):
        return value
    if keras.ops.is_tensor(value) or isinstance(value, keras.Variable):
        return value
    raise ValueError(
        "`learning_rate` must be a float, a LearningRateSchedule or a callable "
        f"without arguments. Received: learning_rate={value!r}"
    )


# What is checked wherever it is set, in the constructor or later.
CHECKS = {
    "rho": functools.partial(check_number, "rho", maximum=1.0),
    "momentum": functools.partial(check_number, "momentum", maximum=1.0),
    "epsilon": functools.partial(check_number, "epsilon"),
    "centered": functools.partial(check_bool, "centered"),
    "learning_rate": checked_learning_rate,
    "update_rule": UpdateRule.get,
    "sparse_updates": functools.partial(
        check_choice, "sparse_updates", allowed=("lazy", "dense")
    ),
}


def check_dtype(variable):
    """Checks that a variable is floating or complex, or raises a ValueError."""
    dtype = keras.backend.standardize_dtype(variable.dtype)
    if not dtype.startswith(("float", "bfloat", "complex")):
        raise ValueError(
            "`variables` must be floating or complex. Received: "
            f"{variable.name!r} of dtype {dtype}"
        )
