"""The names that `tf.compat.v1.keras` had for RMSProp."""

from compat_v1.keras import optimizer_v1, optimizers

__all__ = ["optimizer_v1", "optimizers"]


def __dir__():
    return list(__all__)
