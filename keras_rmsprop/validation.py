"""Checks of what users pass in, made before anything changes."""

import math
import numbers

import numpy as np


def check_number(name, value, minimum=0.0, maximum=math.inf, above=None):
    """Returns `value` if it is a finite number in range.

    Args:
        name: Name of the argument, for the message.
        value: What was passed.
        minimum: Least value allowed; `-math.inf` for any.
        maximum: Greatest value allowed.
        above: Where given, what the value has to exceed, instead of `minimum`.

    Returns:
        `value`, unchanged.

    Raises:
        ValueError: If `value` is no finite real number within the range.

    Example:

    >>> check_number("rho", 1.5, maximum=1.0)
    Traceback (most recent call last):
    ...
    ValueError: `rho` must be a finite number in [0, 1]. Received: rho=1.5
    """
    real = isinstance(value, (numbers.Real, np.number)) and not isinstance(value, bool)
    if real and _is_finite(value):
        exceeds = value >= minimum if above is None else value > above
        if exceeds and value <= maximum:
            return value
    if above is not None:
        bounds = f" > {above:g}"
    elif maximum < math.inf:
        bounds = f" in [{minimum:g}, {maximum:g}]"
    elif minimum > -math.inf:
        bounds = f" >= {minimum:g}"
    else:
        bounds = ""
    raise ValueError(
        f"`{name}` must be a finite number{bounds}. Received: {name}={value!r}"
    )


def _is_finite(value):
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer that no float can hold.
        return False


def check_bool(name, value):
    """Returns `value` if it is True or False, or raises a ValueError."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"`{name}` must be True or False. Received: {name}={value!r}")
    return bool(value)


def check_choice(name, value, allowed):
    """Returns `value` if it is one of `allowed`, or raises a ValueError."""
    if not (isinstance(value, str) and value in allowed):
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, allowed))}. "
            f"Received: {name}={value!r}"
        )
    return value
