"""Moves RMSProp training between TF1, OptimizerV2 and Keras 3."""

import importlib
from typing import TYPE_CHECKING

from keras_rmsprop.requirements import TensorFlowFor

if TYPE_CHECKING:
    from keras_rmsprop.migration.comparison import (
        Comparison,
        assert_equivalent,
        compare,
    )
    from keras_rmsprop.migration.recording import Recording, read_recording
    from keras_rmsprop.migration.resuming import Resumed, resume
    from keras_rmsprop.migration.state import OptimizerState, VariableState, read_state
    from keras_rmsprop.migration.translation import Arguments, arguments

__all__ = [
    "Arguments",
    "Comparison",
    "OptimizerState",
    "Recording",
    "Resumed",
    "VariableState",
    "arguments",
    "assert_equivalent",
    "compare",
    "read_recording",
    "read_state",
    "resume",
]

_HOMES = {
    "Arguments": "keras_rmsprop.migration.translation",
    "Comparison": "keras_rmsprop.migration.comparison",
    "OptimizerState": "keras_rmsprop.migration.state",
    "Recording": "keras_rmsprop.migration.recording",
    "Resumed": "keras_rmsprop.migration.resuming",
    "VariableState": "keras_rmsprop.migration.state",
    "arguments": "keras_rmsprop.migration.translation",
    "assert_equivalent": "keras_rmsprop.migration.comparison",
    "compare": "keras_rmsprop.migration.comparison",
    "read_recording": "keras_rmsprop.migration.recording",
    "read_state": "keras_rmsprop.migration.state",
    "resume": "keras_rmsprop.migration.resuming",
}

if not TYPE_CHECKING:  # To whom a misspelt name would be one of any type.

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with TensorFlowFor(f"{__name__}.{name}"):
            value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__():
    return list(__all__)
