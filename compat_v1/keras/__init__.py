"""The names that `tf.compat.v1.keras` had for RMSProp."""

from keras_rmsprop.requirements import TensorFlowFor

with TensorFlowFor(__name__):
    from compat_v1.keras import optimizer_v1, optimizers

__all__ = ["optimizer_v1", "optimizers"]


def __dir__():
    return list(__all__)
