"""Variables of Keras and TensorFlow, and their values, eagerly or in a session."""

import functools
import inspect

import keras
import tensorflow as tf


def is_value(initializer):
    """Whether an initializer is the value itself, and no recipe for one."""
    return not (isinstance(initializer, str) or callable(initializer))


def initial_value(initializer, shape, dtype):
    """Returns an initial value as `tf.Variable` takes it."""
    if isinstance(initializer, str):
        initializer = keras.initializers.get(initializer)
    elif inspect.isclass(initializer):
        initializer = initializer()
    if callable(initializer):
        return functools.partial(initializer, shape=tuple(shape), dtype=dtype)
    return initializer


def fetch(tensors):
    """Returns the values of tensors as arrays; in a TF1 graph, from its session."""
    if tf.compat.v1.executing_eagerly_outside_functions():
        return [tensor.numpy() for tensor in tensors]
    return _session().run(tensors)


def assign(variable, value):
    """Sets a variable; in a TF1 graph, in its session."""
    if tf.compat.v1.executing_eagerly_outside_functions():
        variable.assign(value)
    else:
        variable.load(value, _session())


def _session():
    session = tf.compat.v1.get_default_session()
    if session is None:
        raise RuntimeError(
            "In a TF1 graph, variables have values only in a session. Call this "
            "within `with tf.compat.v1.Session() as session:`."
        )
    return session
