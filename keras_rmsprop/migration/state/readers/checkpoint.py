"""TensorFlow's checkpoint files, with errors that name the file."""

import contextlib
import math

import tensorflow as tf

from keras_rmsprop.migration.state.readers import checkpoint_paths


class Checkpoint:
    """A checkpoint opened for reading.

    Attributes:
        prefix: Its path.
        shapes: Dictionary of shapes (lists) by key.
        dtypes: Dictionary of `tf.DType` by key.
    """

    def __init__(self, prefix):
        self.prefix = prefix
        with self._errors():
            self._reader = tf.train.load_checkpoint(checkpoint_paths.loadable(prefix))
            self.shapes = dict(self._reader.get_variable_to_shape_map())
            self.dtypes = dict(self._reader.get_variable_to_dtype_map())
        self._size = checkpoint_paths.size(prefix)

    def __contains__(self, key):
        return key in self.shapes

    def value(self, key):
        """Returns what is stored under a key, an array or bytes."""
        if key not in self.shapes:
            raise ValueError(f"The checkpoint {self.prefix!r} has no {key!r}.")
        # Before anything is allocated.
        if math.prod(self.shapes[key]) * self.dtypes[key].size > self._size:
            raise ValueError(
                f"The checkpoint {self.prefix!r} is truncated or damaged: its files "
                f"are smaller than {key!r} of shape {self.shapes[key]}."
            )
        with self._errors():
            return self._reader.get_tensor(key)

    def step(self, key):
        """Returns the integer that is stored under a key."""
        if key not in self or self.shapes[key] or not self.dtypes[key].is_integer:
            raise ValueError(
                f"`global_step` must name an integer scalar of the checkpoint "
                f"{self.prefix!r}, one of {self.steps()}. "
                f"Received: global_step={key!r}"
            )
        return int(self.value(key))

    def steps(self):
        """Returns the keys of all integer scalars."""
        return sorted(
            key
            for key, shape in self.shapes.items()
            if not shape and self.dtypes[key].is_integer
        )

    @contextlib.contextmanager
    def _errors(self):
        # Which of these it is depends on where the damage is.
        try:
            yield
        except (tf.errors.OpError, RuntimeError, IndexError) as error:
            raise ValueError(
                f"The checkpoint {self.prefix!r} is truncated or damaged: "
                f"{getattr(error, 'message', None) or error}"
            ) from error
