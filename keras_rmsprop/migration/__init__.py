"""Moves RMSProp training between TF1, OptimizerV2 and Keras 3."""

import importlib

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
__all__ = tuple(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(__all__))
