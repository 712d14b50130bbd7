"""What the records of a recording mean: headers checked, arrays put in their places.

The functions take a record's header and its arrays, or anything with their shapes and
dtypes, so that a file can be checked before any array is read.
"""

from typing import NamedTuple

import numpy as np

from keras_rmsprop.migration.recording.slices import Slices

GENERATIONS = ("tf1", "legacy", "keras2", "keras", "keras_2017")


class Start(NamedTuple):
    """What a run started from; `Recording` documents the fields."""

    optimizer: str
    generation: str | None
    arguments: dict
    evaluated: tuple
    clipped: bool
    versions: dict
    processor: str
    names: tuple
    start: list
    start_slots: list
    iterations: int
    others: dict


class Given(NamedTuple):
    """What a step was given."""

    step: int
    gradients: list
    learning_rate: float
    loss: float | None
    batch: object
    changed: dict


class Came(NamedTuple):
    """What a step came to."""

    step: int
    checksums: list
    values: list | None
    others: list | None


def start(header, arrays):
    """Returns the `Start` of a record, and how many steps were to follow."""
    variables = _field(header, "variables", list)
    values, slots = [], []
    for variable in variables:
        value = _at(arrays, _field(variable, "value", int))
        values.append(value)
        references = _field(variable, "slots", dict)
        slots.append({slot: _at(arrays, each) for slot, each in references.items()})
    generation = _field(header, "generation", (str, type(None)))
    if generation not in (*GENERATIONS, None):
        raise ValueError(f"it is of the unknown generation {generation!r}")
    others = {}
    for pair in _field(header, "others", list):
        name, value = _pair(pair, str, arrays)
        if name in others:
            raise ValueError(f"it has two variables named {name!r}")
        others[name] = value
    found = Start(
        optimizer=_field(header, "optimizer", str),
        generation=generation,
        arguments=_field(header, "arguments", dict),
        evaluated=tuple(_each(_field(header, "evaluated", list), str)),
        clipped=_field(header, "clipped", bool),
        versions=_field(header, "versions", dict),
        processor=_field(header, "processor", str),
        names=tuple(_field(variable, "name", str) for variable in variables),
        start=values,
        start_slots=slots,
        iterations=_field(header, "iterations", int),
        others=others,
    )
    return found, _field(header, "steps", int)


def given(header, arrays, like):
    """Returns what a step was `Given`.

    Args:
        header: Header of the record.
        arrays: Its arrays.
        like: The `Start`.
    """
    gradients = _field(header, "gradients", list)
    _check_count("gradients", gradients, like.names)
    found = [_gradient(each, arrays) for each in gradients]
    for name, gradient, value in zip(like.names, found, like.start):
        _check_gradient(name, gradient, value.shape)
    changed = {}
    for pair in _field(header, "changed", list):
        index, value = _pair(pair, int, arrays)
        expected = _at(like.start, index)
        _check_like(like.names[index], value, expected)
        changed[index] = value
    loss = _field(header, "loss", (int, float, type(None)))
    return Given(
        step=_field(header, "step", int),
        gradients=found,
        learning_rate=float(_field(header, "learning_rate", (int, float))),
        loss=None if loss is None else float(loss),
        batch=_nested(_field(header, "batch", (int, dict, type(None))), arrays),
        changed=changed,
    )


def came(header, arrays, like):
    """Returns what a step `Came` to; arguments are as for `given`."""
    checksums = _each(_field(header, "checksums", list), int)
    _check_count("checksums", checksums, like.names)
    values = _all(_field(header, "values", (list, type(None))), arrays)
    if values is not None:
        _check_all("values", values, like.names, like.start)
    others = _all(_field(header, "others", (list, type(None))), arrays)
    if others is not None:
        _check_all("other values", others, list(like.others), like.others.values())
    return Came(_field(header, "step", int), checksums, values, others)


def end(header):
    """Returns how many steps are valid, and why there are not all, or None."""
    steps = _field(header, "steps", int)
    return steps, _field(header, "stopped", (str, type(None)))


def check_indices(gradients, like):
    """Raises ValueError where slices name a row that their variable has not."""
    for name, gradient, value in zip(like.names, gradients, like.start):
        if not isinstance(gradient, Slices) or not gradient.indices.size:
            continue
        least, most = gradient.indices.min(), gradient.indices.max()
        if least < 0 or most >= value.shape[0]:
            raise ValueError(
                f"the gradient of {name!r} names rows from {least} to {most}, and the "
                f"variable has {value.shape[0]}"
            )


def _field(header, key, kinds):
    """Returns `header[key]` if it is there and of one of the kinds."""
    value = header.get(key, _field) if isinstance(header, dict) else _field
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    # A bool is an int to Python, but not here.
    if type(value) not in kinds:
        raise ValueError(f"its header has no valid {key!r}")
    return value


def _each(values, kind):
    if any(type(value) is not kind for value in values):
        raise ValueError(f"its header has {values!r} where each has to be {kind}")
    return values


def _at(items, index):
    if type(index) is not int or not 0 <= index < len(items):
        raise ValueError(f"its header refers to number {index!r} of {len(items)}")
    return items[index]


def _all(references, arrays):
    return None if references is None else [_at(arrays, each) for each in references]


def _pair(pair, kind, arrays):
    if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is kind):
        raise ValueError(f"its header has {pair!r} where a pair has to be")
    return pair[0], _at(arrays, pair[1])


def _gradient(reference, arrays):
    if reference is None:
        return None
    if isinstance(reference, dict):
        values, indices = (_field(reference, k, int) for k in ("values", "indices"))
        return Slices(_at(arrays, values), _at(arrays, indices))
    return _at(arrays, reference)


def _nested(reference, arrays):
    if reference is None:
        return None
    if not isinstance(reference, dict):
        return _at(arrays, reference)
    if len(reference) != 1:
        raise ValueError(f"its header has a batch of {sorted(reference)}")
    ((kind, members),) = reference.items()
    if kind not in ("tuple", "list", "dict") or not isinstance(members, list):
        raise ValueError(f"its header has a batch of {kind!r}")
    if kind != "dict":
        members = [_nested(each, arrays) for each in members]
        return tuple(members) if kind == "tuple" else members
    nested = {}
    for pair in members:
        if not (isinstance(pair, list) and len(pair) == 2 and type(pair[0]) is str):
            raise ValueError(f"its header has {pair!r} where a pair has to be")
        nested[pair[0]] = _nested(pair[1], arrays)
    return nested


def _check_count(what, found, names):
    if len(found) != len(names):
        raise ValueError(f"it has {len(found)} {what} for {len(names)} variables")


def _check_all(what, values, names, expected):
    _check_count(what, values, names)
    for name, value, like in zip(names, values, expected):
        _check_like(name, value, like)


def _check_like(name, value, expected):
    if (value.shape, value.dtype) != (expected.shape, expected.dtype):
        raise ValueError(
            f"its value of {name!r} is {value.dtype} of shape {value.shape}, and the "
            f"variable is {expected.dtype} of shape {expected.shape}"
        )


def _check_gradient(name, gradient, shape):
    if gradient is None:
        return
    if not isinstance(gradient, Slices):
        if gradient.shape != shape:
            raise ValueError(
                f"the gradient of {name!r} has the shape {gradient.shape}, and the "
                f"variable {shape}"
            )
        return
    values, indices = gradient
    # A kind of "i" or "u" is an integer.
    if len(indices.shape) != 1 or np.dtype(indices.dtype).kind not in "iu":
        raise ValueError(
            f"the gradient of {name!r} has indices of {indices.dtype} and shape "
            f"{indices.shape}"
        )
    if not shape or values.shape != (*indices.shape, *shape[1:]):
        raise ValueError(
            f"the gradient of {name!r} has slices of shape {values.shape} for "
            f"{indices.shape[0]} indices, and the variable has the shape {shape}"
        )
