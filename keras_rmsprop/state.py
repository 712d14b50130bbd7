"""State of `keras_rmsprop.RMSprop` as arrays, on its way in and out."""

import numpy as np


def checked_state(argument, values, variables):
    """Returns `values` as arrays that fit an optimizer's variables.

    Args:
        argument: Name of the argument, for the message.
        values: List of arrays.
        variables: List of the optimizer's `keras.Variable`s.

    Raises:
        ValueError: If their number, a shape or the kind of a dtype differs.
    """
    if len(values) != len(variables):
        raise ValueError(
            f"`{argument}` must hold {len(variables)} arrays, one for each "
            f"of the optimizer's variables. Received: {len(values)}"
        )
    arrays = []
    for variable, value in zip(variables, values):
        array = np.asarray(value)
        if array.shape != tuple(variable.shape):
            raise ValueError(
                f"`{argument}` must hold an array of shape "
                f"{tuple(variable.shape)} for {variable.path!r}. Received: an "
                f"array of shape {array.shape}"
            )
        if array.dtype.kind in "OSU":
            raise ValueError(
                f"`{argument}` must hold numbers for {variable.path!r}. "
                f"Received: an array of dtype {array.dtype}"
            )
        arrays.append(array)
    return arrays
