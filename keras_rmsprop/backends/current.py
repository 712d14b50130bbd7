"""What the backend that Keras runs on has: its `Step`, and `tracking` of variables."""

import keras

if keras.backend.backend() == "tensorflow":
    from keras_rmsprop.backends.tensorflow import tracking
    from keras_rmsprop.backends.tensorflow.step import Step
elif keras.backend.backend() == "jax":
    from keras_rmsprop.backends import tracking
    from keras_rmsprop.backends.jax import Step
elif keras.backend.backend() == "torch":
    from keras_rmsprop.backends import tracking
    from keras_rmsprop.backends.torch import Step
else:
    raise ImportError(
        "keras_rmsprop runs on Keras' backends tensorflow, jax and torch. Received: "
        f"keras.backend.backend() == {keras.backend.backend()!r}. Set the environment "
        "variable KERAS_BACKEND to one of them before Keras is imported."
    )

__all__ = ["Step", "tracking"]
