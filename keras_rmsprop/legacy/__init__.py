"""The OptimizerV2 API on Keras 3: `RMSprop`, and `Optimizer` for users' own."""

from keras_rmsprop.requirements import TensorFlowFor

with TensorFlowFor(__name__):
    from keras_rmsprop.legacy.optimizer import Optimizer
    from keras_rmsprop.legacy.rmsprop import RMSprop

__all__ = ["Optimizer", "RMSprop"]


def __dir__():
    return list(__all__)
