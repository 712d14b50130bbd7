"""A learning rate schedule as an optimizer hands it out."""

import numpy as np
import tensorflow as tf

from keras_rmsprop.legacy.values import fetch


class ScheduleOfOptimizer:
    """A schedule that also converts to its value at the optimizer's present step.

    OptimizerV2 hands out the schedule, Keras 3 the value, and what is written for
    either asks `opt.learning_rate(step)` or `float(opt.learning_rate)`. It counts as an
    instance of the schedule's class, so that it is serialized as the schedule is.

    Args:
        schedule: A `keras.optimizers.schedules.LearningRateSchedule`.
        optimizer: What has `iterations`.

    Example:

    >>> import keras
    >>> schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
    >>> class Steps:
    ...     iterations = tf.constant(10)
    >>> rate = ScheduleOfOptimizer(schedule, Steps)
    >>> isinstance(rate, keras.optimizers.schedules.ExponentialDecay)
    True
    >>> round(float(rate), 6)
    0.45
    """

    def __init__(self, schedule, optimizer):
        self._schedule = schedule
        self._optimizer = optimizer

    @property
    def __class__(self):
        return type(self._schedule)

    def __getattr__(self, name):
        if name in ("_schedule", "_optimizer"):  # Not yet set, while it is copied.
            raise AttributeError(name)
        return getattr(self._schedule, name)

    def __call__(self, step):
        return self._schedule(step)

    def __tf_tensor__(self, dtype=None, name=None):
        rate = self._schedule(tf.cast(self._optimizer.iterations, tf.float32))
        return tf.cast(tf.convert_to_tensor(rate), dtype or tf.float32, name=name)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.numpy(), dtype)

    def __float__(self):
        return float(self.numpy())

    def numpy(self):
        """Returns the value at the present step; in a TF1 graph, from its session."""
        return fetch([self.__tf_tensor__()])[0]

    def __eq__(self, other):
        return self._schedule == schedule_of(other)

    def __hash__(self):
        return hash(self._schedule)

    def __repr__(self):
        return repr(self._schedule)

    def __reduce__(self):
        return schedule_of, (self._schedule,)


def schedule_of(value):
    """Returns the schedule behind a `ScheduleOfOptimizer`; anything else as it is."""
    return value._schedule if type(value) is ScheduleOfOptimizer else value
