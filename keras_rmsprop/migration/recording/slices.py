"""A sparse gradient, away from TensorFlow."""

from typing import Any, NamedTuple


class Slices(NamedTuple):
    """A sparse gradient: `values[i]` belongs to row `indices[i]`."""

    values: Any
    indices: Any
