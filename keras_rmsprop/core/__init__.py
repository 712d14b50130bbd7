"""The RMSProp update itself, and the places that it can run in.

- `formula`: the step, once, in every rounding that shipped; `reference`: the same in
  NumPy, for people.
- `values`: what it works with, `Slots` and `Hyperparameters`.
- `steps`: the doors, which choose where a step is taken: by `native` kernels
  (`native.steps`), by TensorFlow's (`raw_kernels`), by XLA (`compiled`) or by
  `ordinary` ops.
- `duplicates`: slices that share an index; `execution`: eager, graph or XLA.

The core knows variables, slots, gradients, hyperparameters and an `UpdateRule`.
It takes its arguments as valid; the optimizer classes check what users pass.

What is listed here loads on first use: other backends than TensorFlow use the formula
and the values, and load no TensorFlow.
"""

import importlib

_HOMES = {
    "Hyperparameters": "values",
    "Slots": "values",
    "Together": "steps",
    "apply_dense": "steps",
    "apply_sparse": "steps",
    "apply_sparse_as_dense": "steps",
    "is_compiled": "execution",
    "map_values": "duplicates",
    "share_reads": "steps",
    "sum_duplicates": "duplicates",
}
__all__ = sorted(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    globals()[name] = value = getattr(home, name)
    return value
