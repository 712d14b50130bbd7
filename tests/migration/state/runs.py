"""What the state tests share: runs of each optimizer on the same gradients."""

import keras
import numpy as np
import tensorflow as tf
import tf_keras

import keras_rmsprop
from compat_v1.train import RMSPropOptimizer

tf1 = tf.compat.v1
SHAPES = {"scope/kernel": (3, 2), "scope/bias": (2,), "table": (5, 3)}
OPTIONS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "centered": {"centered": True},
    "centered_momentum": {"centered": True, "momentum": 0.9},
}


def start(seed=0):
    """Returns initial values by variable name."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=s).astype("float32") for name, s in SHAPES.items()}


def gradients(first, last):
    """Yields lists of gradients for the steps from `first` up to `last`."""
    for step in range(first, last):
        rng = np.random.default_rng([7, step])
        yield [rng.normal(size=s).astype("float32") for s in SHAPES.values()]


def tf_variables(values):
    return [tf.Variable(value, name=name) for name, value in values.items()]


def keras_variables(values):
    variables = []
    for name, value in values.items():
        variable = keras.Variable(value, name=name.rpartition("/")[2])
        variable._path = name
        variables.append(variable)
    return variables


def _tf1(cls):
    return lambda **options: cls(0.05, decay=0.8, **{"epsilon": 1e-6, **options})


def _keras(cls, **rule):
    return lambda **options: cls(0.05, rho=0.8, **{"epsilon": 1e-6, **rule, **options})


# Makers of optimizers with the arguments of OPTIONS.
MAKE = {
    "shipped_tf1": _tf1(tf1.train.RMSPropOptimizer),
    "shipped_legacy": _keras(tf_keras.optimizers.legacy.RMSprop),
    "shipped_keras2": _keras(tf_keras.optimizers.RMSprop),
    "shipped_keras": _keras(keras.optimizers.RMSprop),
    "tf1": _tf1(RMSPropOptimizer),
    "legacy": _keras(keras_rmsprop.legacy.RMSprop),
    "modern": _keras(keras_rmsprop.RMSprop),
    "modern_keras2": _keras(
        keras_rmsprop.RMSprop, update_rule="keras2", sparse_updates="dense"
    ),
    "modern_legacy": _keras(keras_rmsprop.RMSprop, update_rule="legacy"),
    "modern_tf1": _keras(keras_rmsprop.RMSprop, update_rule="tf1"),
}


def variables_for(name, values):
    """Returns variables of the kind that a maker's optimizer trains."""
    is_keras = name == "shipped_keras" or name.startswith("modern")
    return (keras_variables if is_keras else tf_variables)(values)


def train(optimizer, variables, first, last):
    """Takes the steps from `first` up to `last`."""
    for grads in gradients(first, last):
        optimizer.apply_gradients(
            [(tf.constant(g), v) for g, v in zip(grads, variables)]
        )


def values_of(variables):
    return {name: np.array(v.numpy()) for name, v in zip(SHAPES, variables)}


def assert_same_bits(actual, expected):
    assert list(actual) == list(expected)
    for name, value in expected.items():
        assert actual[name].dtype == value.dtype and actual[name].shape == value.shape
        assert actual[name].tobytes() == value.tobytes(), name


def assert_same_state(actual, expected, values=True):
    """Asserts that two states hold the same bits under the same names."""
    assert list(actual.variables) == list(expected.variables)
    assert actual.iterations == expected.iterations
    for name, variable in expected.variables.items():
        assert_same_bits(actual.variables[name].slots, variable.slots)
        if values:
            held = actual.variables[name].value
            assert (held is None) == (variable.value is None), name
            if held is not None:
                assert_same_bits({name: held}, {name: variable.value})
