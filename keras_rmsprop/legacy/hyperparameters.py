"""Hyperparameters of an OptimizerV2: attributes that are variables behind."""

import contextlib
import math
import numbers
import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_rmsprop.annotations import Number, Schedule
from keras_rmsprop.legacy.current_rate import ScheduleOfOptimizer, schedule_of
from keras_rmsprop.legacy.values import assign, fetch
from keras_rmsprop.sharding import native_of
from keras_rmsprop.validation import check_number

# What a hyperparameter may be, and a schedule too if it is the learning rate.
Hyperparameter = Number | tf.Tensor | tf.Variable | Callable[[], Any]
# The least and the greatest value of hyperparameters that have others than 0 and inf.
_RANGES = {
    "learning_rate": (-math.inf, math.inf),
    "lr": (-math.inf, math.inf),
    "rho": (0.0, 1.0),
    "momentum": (0.0, 1.0),
}


class Hyperparameters:
    """The part of `Optimizer` that keeps hyperparameters.

    It makes variables of them by `add_weight`, and reads `iterations`.
    """

    def __init__(self):
        self._hyper = {}
        self._hypers_created = False
        self._compiled_hypers = set()
        # The numbers that variables were made of or set to, for where there is no
        # session to ask.
        self._hyper_numbers = {}

    def __getattr__(self, name):
        key = "learning_rate" if name == "lr" else name
        if key in self.__dict__.get("_hyper", ()):
            value = self._get_hyper(key)
            if isinstance(value, Schedule):
                return ScheduleOfOptimizer(value, self)
            return value
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}"
        )

    def __setattr__(self, name, value):
        name = "learning_rate" if name == "lr" else name
        if name in self.__dict__.get("_hyper", ()):
            self._set_hyper(name, value)
            return
        # Past Keras' and TensorFlow's own `__setattr__`, which would wrap lists and
        # track variables: an OptimizerV2 tracks what it is told to, no more.
        object.__setattr__(self, name, value)

    def __dir__(self):
        alias = ["lr"] if "learning_rate" in self._hyper else []
        return sorted({*super().__dir__(), *self._hyper, *alias})

    # These two stand in the way of Keras' properties of the same name.

    @property
    def learning_rate(self) -> Any:
        """The learning rate: its variable, or what was given in its place.

        A schedule converts to its value at the present step, too.
        """
        return self.__getattr__("learning_rate")

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self._set_hyper("learning_rate", value)

    def _set_hyper(self, name, value):
        """Sets a hyperparameter to a number, tensor, variable, schedule or callable."""
        value = schedule_of(native_of(value))
        current = self._hyper.get(name)
        if isinstance(current, tf.Variable) and _is_value_for(current, value):
            assign(current, value)
            self._hyper_numbers[name] = value
            return
        if name in self._compiled_hypers:
            warnings.warn(
                f"A function compiled before this keeps the former `{name}`, because "
                "one of both is no number, or only the former an integer. Compile "
                "again, with `model.compile` or a new `tf.function`.",
                stacklevel=3,
            )
        if isinstance(value, tf.Variable):
            self._track_trackable(value, name, overwrite=True)
        self._hyper_numbers.pop(name, None)
        self._hyper[name] = value
        if self._hypers_created:
            self._create_hyper(name)

    def _get_hyper(self, name, dtype=None):
        """Returns a hyperparameter, cast to a dtype unless it is a schedule."""
        self._create_hypers()
        value = self._hyper[name]
        if not tf.executing_eagerly():
            self._compiled_hypers.add(name)
        if isinstance(value, Schedule):
            return value
        if callable(value):
            value = value()
        return tf.cast(value, dtype) if dtype else value

    def _create_hypers(self):
        """Turns hyperparameters that are numbers into variables."""
        if self._hypers_created:
            return
        with self._building(), self._distribution_strategy_scope():
            for name in sorted(self._hyper):
                self._create_hyper(name)
            self._hypers_created = True

    def _create_hyper(self, name):
        value = self._hyper[name]
        if not (tf.is_tensor(value) or callable(value)):
            self._hyper_numbers[name] = value
            with tf.init_scope():
                self._hyper[name] = self.add_weight(
                    name,
                    shape=[],
                    trainable=False,
                    initializer=value,
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                )

    def _serialize_hyperparameter(self, hyperparameter_name):
        """Returns a hyperparameter as `get_config` needs it."""
        value = self._hyper[hyperparameter_name]
        number = self._hyper_numbers.get(hyperparameter_name)
        if number is None or tf.compat.v1.executing_eagerly_outside_functions():
            return serialized(value)
        if tf.compat.v1.get_default_session() is not None:
            with contextlib.suppress(tf.errors.FailedPreconditionError):
                return serialized(value)
        return serialized(number)

    def _lr_decay(self):
        """Returns by how much the learning rate falls: a number or scalar tensor."""
        decay = self._initial_decay
        return decay() if callable(decay) else decay

    def _decayed_lr(self, var_dtype):
        """Returns the learning rate of this step as a tensor of a dtype."""
        lr_t = self._get_hyper("learning_rate", var_dtype)
        step = tf.cast(self.iterations, var_dtype)
        if isinstance(lr_t, Schedule):
            lr_t = tf.cast(lr_t(step), var_dtype)
        decay = self._lr_decay()
        if isinstance(decay, numbers.Real) and decay == 0:
            return lr_t
        # float16 counts to 65504 steps and then to infinity.
        decayed = tf.math.multiply_no_nan(step, tf.cast(decay, var_dtype))
        return lr_t / (1.0 + decayed)


def check_hyperparameter(name, value):
    """Checks a hyperparameter if it is a number, and neither tensor nor callable."""
    if not (callable(value) or tf.is_tensor(value) or isinstance(value, np.ndarray)):
        check_number(name, value, *_RANGES.get(name, ()))


def serialized(value):
    """Returns a hyperparameter as JSON can hold it; a callable as its value."""
    if isinstance(value, Schedule):
        return keras.optimizers.schedules.serialize(value)
    if callable(value):
        value = value()
    if tf.is_tensor(value):
        value = fetch([value])[0]
    return value.item() if isinstance(value, (np.ndarray, np.generic)) else value


def _is_value_for(variable, value):
    """Whether a hyperparameter's variable can be set to a value."""
    if callable(value) or isinstance(value, tf.Variable):
        return False
    if tf.is_tensor(value) or variable.dtype.is_floating or variable.dtype.is_complex:
        return True
    # An integer or bool: rather another variable than 0 for 0.5.
    return bool(np.all(np.array(value, variable.dtype.as_numpy_dtype) == value))
