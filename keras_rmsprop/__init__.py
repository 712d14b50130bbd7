"""RMSProp as TF1, OptimizerV2 and Keras 3 shipped it, on one core.

`RMSprop` is the Keras 3 optimizer, with the numerics of any generation.
`legacy` holds the OptimizerV2 API and `migration` the tools that move training
between the generations; both load on first use.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keras_rmsprop import legacy, migration
    from keras_rmsprop.rmsprop import RMSprop
    from keras_rmsprop.update_rule import UpdateRule

__version__ = "0.1.0"
__all__ = ["RMSprop", "UpdateRule", "legacy", "migration"]

_HOMES = {
    "RMSprop": "keras_rmsprop.rmsprop",
    "UpdateRule": "keras_rmsprop.update_rule",
    "legacy": None,
    "migration": None,
}

if not TYPE_CHECKING:  # To whom a misspelt name would be one of any type.

    def __getattr__(name):
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = _HOMES[name]
        if home is None:
            return importlib.import_module(f"{__name__}.{name}")
        value = getattr(importlib.import_module(home), name)
        globals()[name] = value
        return value


def __dir__():
    return [*__all__, "__version__"]
