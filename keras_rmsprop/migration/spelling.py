"""Optimizers and their arguments spelled out as Python."""

import re

import keras
import numpy as np
import tensorflow as tf


def call(name, arguments):
    """Returns a constructor call as text, None and what cannot be written left out."""
    given = ", ".join(
        f"{key}={written(value)}"
        for key, value in arguments.items()
        if value is not None
    )
    return f"{name}({given})"


def written(value):
    """Returns an argument as text, a schedule in one line.

    Example:

    >>> written(keras.optimizers.schedules.ExponentialDecay(0.1, 9, 0.5))
    'ExponentialDecay(initial_learning_rate=0.1, decay_steps=9, decay_rate=0.5, \
staircase=False)'
    """
    if isinstance(value, (float, np.floating)):
        # As the user wrote it, where a variable has rounded it since.
        with np.errstate(over="ignore"):
            rounded = np.float32(value)
        return str(rounded) if float(rounded) == value else repr(float(value))
    if schedule_of(value):
        return call(*schedule_of(value))
    if callable(value) or tf.is_tensor(value):
        return f"<{getattr(value, '__name__', 'a callable')}>"
    return repr(value)


def code(name, arguments):
    """Returns a constructor call as lines of Python that run, imports included.

    Args:
        name: Public name of the class.
        arguments: Dictionary of its arguments; None is left out, and what cannot be
            written is `...`.

    Example:

    >>> print(code("keras_rmsprop.RMSprop", {"learning_rate": 0.1, "momentum": 0.9}))
    import keras_rmsprop
    <BLANKLINE>
    optimizer = keras_rmsprop.RMSprop(
        learning_rate=0.1,
        momentum=0.9,
    )
    """
    before, given = [], {}
    for key, value in arguments.items():
        if value is not None:
            lines, given[key] = _as_code(value)
            before += lines
    body = "\n".join([*before, *_assignment("optimizer", name, given)])
    imports = sorted(set(re.findall(r"\b(keras|keras_rmsprop)\.", body)))
    return "\n".join([*(f"import {root}" for root in imports), "", body])


def _assignment(target, name, given):
    lines = (f"    {key}={value}," for key, value in given.items())
    return [f"{target} = {name}(", *lines, ")"]


def _as_code(value):
    """Returns the lines of Python that a value needs before it, and the value."""
    if hasattr(value, "as_code"):
        return value.as_code()
    schedule = schedule_of(value)
    if schedule:
        cls, config = schedule
        # Keras 3 has all that tf_keras and recordings have.
        if not hasattr(keras.optimizers.schedules, cls):
            return [], "..."
        given = {key: written(each) for key, each in config.items()}
        name = f"keras.optimizers.schedules.{cls}"
        return _assignment("schedule", name, given), "schedule"
    if callable(value) or tf.is_tensor(value):
        return [], "..."
    return [], written(value)


def schedule_of(value):
    """Returns class name and arguments of a learning-rate schedule, or None."""
    if callable(value) and hasattr(value, "get_config"):
        # Of Keras 3 or of tf_keras.
        cls, config = type(value).__name__, value.get_config()
    elif isinstance(value, dict) and "class_name" in value:
        # As a recording or a configuration describes it.
        cls, config = value["class_name"], value.get("config", {})
    else:
        return None
    return cls, {k: v for k, v in config.items() if k != "name"}
