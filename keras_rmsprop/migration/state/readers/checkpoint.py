"""TensorFlow's checkpoint files, with errors that name the file."""

import contextlib
import math
import os

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
        self._path = checkpoint_paths.loadable(prefix)
        with self._errors():
            self._reader = tf.train.load_checkpoint(self._path)
            self.shapes = dict(self._reader.get_variable_to_shape_map())
            self.dtypes = dict(self._reader.get_variable_to_dtype_map())
        self._size = checkpoint_paths.size(prefix)
        self._is_v1 = not os.path.exists(f"{prefix}.index")

    def __contains__(self, key):
        return key in self.shapes

    def value(self, key):
        """Returns what is stored under a key, an array or bytes."""
        if key not in self.shapes:
            raise ValueError(f"The checkpoint {self.prefix!r} has no {key!r}.")
        self._check_size(key, self.shapes[key])
        with self._errors():
            return self._reader.get_tensor(key)

    def part(self, key, slices, shape):
        """Returns a part of what is stored under a key, of which others may lack.

        Args:
            key: The key.
            slices: Which part, as `Saver` writes it: `"5 2 0,3:-"`.
            shape: The part's shape.
        """
        self._check_size(key, shape)
        with self._errors():
            return constant_result(
                tf.raw_ops.RestoreV2,
                prefix=self._path,
                tensor_names=[key],
                shape_and_slices=[slices],
                dtypes=[self.dtypes[key]],
            )[0]

    def _check_size(self, key, shape):
        """Raises ValueError for what the files cannot hold, before it is allocated."""
        # The V1 format packs small whole numbers, and strings may be empty.
        is_packed = self._is_v1 or self.dtypes[key] == tf.string
        least = 1 if is_packed else self.dtypes[key].size
        if math.prod(shape) * least > self._size:
            raise ValueError(
                f"The checkpoint {self.prefix!r} is truncated or damaged: its files "
                f"are smaller than {key!r} of shape {list(shape)}."
            )

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
        except (tf.errors.OpError, RuntimeError, IndexError, ValueError) as error:
            raise ValueError(
                f"The checkpoint {self.prefix!r} is truncated or damaged: "
                f"{getattr(error, 'message', None) or error}"
            ) from error


def constant_result(operation, **arguments):
    """Returns what a raw operation makes of constants, as arrays, in any mode."""
    with tf.init_scope():
        if tf.executing_eagerly():
            return tf.nest.map_structure(lambda t: t.numpy(), operation(**arguments))
    # A program of TF1 that has turned eager execution off.
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        return session.run(operation(**arguments))
