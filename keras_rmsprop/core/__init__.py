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
"""

from keras_rmsprop.core.duplicates import sum_duplicates
from keras_rmsprop.core.execution import is_compiled
from keras_rmsprop.core.steps import (
    Together,
    apply_dense,
    apply_sparse,
    apply_sparse_as_dense,
    share_reads,
)
from keras_rmsprop.core.values import Hyperparameters, Slots, map_values

__all__ = [
    "Hyperparameters",
    "Slots",
    "Together",
    "apply_dense",
    "apply_sparse",
    "apply_sparse_as_dense",
    "is_compiled",
    "map_values",
    "share_reads",
    "sum_duplicates",
]
