"""The names under `tf.compat.v1` that this project provides.

`train` holds the TF1 optimizer, `keras` the Keras ones; both load on first use.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compat_v1 import keras, train

__all__ = ["keras", "train"]

if not TYPE_CHECKING:  # To whom a misspelt name would be one of any type.

    def __getattr__(name):
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return importlib.import_module(f"{__name__}.{name}")


def __dir__():
    return list(__all__)
