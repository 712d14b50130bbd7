"""`tf.compat.v1.keras.optimizers`: `RMSprop` is `keras_rmsprop.legacy.RMSprop`."""

from compat_v1.keras.optimizers import legacy
from keras_rmsprop.legacy import RMSprop

__all__ = ["RMSprop", "legacy"]


def __dir__():
    return list(__all__)
