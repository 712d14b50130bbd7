"""TF1's training API: `RMSPropOptimizer`."""

from keras_rmsprop.requirements import TensorFlowFor

with TensorFlowFor(__name__):
    from compat_v1.train.rmsprop import RMSPropOptimizer

__all__ = ["RMSPropOptimizer"]


def __dir__():
    return list(__all__)
