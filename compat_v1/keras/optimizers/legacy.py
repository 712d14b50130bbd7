"""`tf.compat.v1.keras.optimizers.legacy`: the classes of `keras_rmsprop.legacy`."""

from keras_rmsprop.legacy import Optimizer, RMSprop

__all__ = ["Optimizer", "RMSprop"]


def __dir__():
    return list(__all__)
