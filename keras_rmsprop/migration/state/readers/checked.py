"""Parts of a state that are put together only if they fit."""

import numpy as np

from keras_rmsprop.migration.state.optimizer_state import VariableState


def count(value, what, origin):
    """Returns a number of steps as an integer.

    Raises:
        ValueError: If the array is no single integer >= 0.
    """
    value = np.asarray(value)
    if value.size != 1 or value.dtype.kind not in "iu" or value.item() < 0:
        raise ValueError(
            f"{what!r} in {origin!r} is no number of steps: an array of "
            f"{value.dtype} and shape {value.shape}{_shown(value)}."
        )
    return value.item()


def number(value, what, origin):
    """Returns a hyperparameter as a number, the shortest that gives its bits.

    Raises:
        ValueError: If the array is no single number.
    """
    value = np.asarray(value)
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise ValueError(
            f"{what!r} in {origin!r} is no number: an array of {value.dtype} and shape "
            f"{value.shape}."
        )
    return float(str(value.reshape(())[()]))


def variable(name, slots, value, origin):
    """Returns a `VariableState`.

    Raises:
        ValueError: If its arrays differ in shape, or are none of real or complex
            numbers.
    """
    for slot, array in slots.items():
        # NumPy takes bfloat16 for bytes.
        if getattr(array, "dtype", np.dtype(object)).kind not in "fcV":
            raise ValueError(
                f"The slot {slot!r} of the variable {name!r} in {origin!r} holds no "
                "floating point numbers."
            )
    shapes = {slot: array.shape for slot, array in slots.items()}
    if value is not None:
        shapes["value"] = value.shape
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"The arrays of the variable {name!r} in {origin!r} differ in shape: "
            f"{shapes}."
        )
    return VariableState(slots, value)


def _shown(value):
    return f", {value.item()}" if value.size == 1 else ""
