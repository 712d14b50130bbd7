"""TF1's training API: `RMSPropOptimizer`."""

from compat_v1.train.rmsprop import RMSPropOptimizer

__all__ = ["RMSPropOptimizer"]


def __dir__():
    return list(__all__)
