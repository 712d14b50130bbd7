"""The numbers: of the NumPy reference, and of the TensorFlow backend."""

import contextlib
import dataclasses
import os

import backend_programs as programs
import keras
import numpy as np
import pytest

import keras_rmsprop
from keras_rmsprop.core import reference
from keras_rmsprop.update_rule import UpdateRule

OWN = dataclasses.replace(UpdateRule.get("keras"), name="own", initial_mean_square=0.5)


def _name(rule):
    return getattr(rule, "name", rule)


@contextlib.contextmanager
def float64():
    """Has float64, which JAX has to be asked for, and rates of it."""
    floatx = keras.config.floatx()
    with contextlib.ExitStack() as stack:
        stack.callback(keras.config.set_floatx, floatx)
        keras.config.set_floatx("float64")
        if keras.backend.backend() == "jax":
            import jax.experimental

            # The public name is younger than the oldest JAX that this runs on.
            home = jax if hasattr(jax, "enable_x64") else jax.experimental
            stack.enter_context(home.enable_x64(True))
        yield


@pytest.mark.parametrize("arguments", programs.ARGUMENTS)
@pytest.mark.parametrize("rule", [*programs.RULES, OWN], ids=_name)
def test_float64_stays_with_the_reference(rule, arguments):
    arguments = programs.ARGUMENTS[arguments]
    rule = UpdateRule.get(rule)
    momentum = arguments.get("momentum", 0.0)
    numbers = rule.round_hyperparameters(rho=0.9, momentum=momentum, epsilon=1e-5)
    with float64():
        variables = programs.variables(dtype="float64")
        expected = programs.values(variables)
        optimizer = keras_rmsprop.RMSprop(
            0.01, epsilon=1e-5, update_rule=rule, **arguments
        )
        states = [
            reference.initial_slots(
                rule, value, momentum=momentum, centered="centered" in arguments
            )
            for value in expected
        ]
        for grads in programs.gradients(dtype="float64"):
            optimizer.apply(grads, variables)
            for i, gradient in enumerate(grads):
                expected[i], states[i] = reference.step(
                    rule,
                    expected[i],
                    states[i],
                    gradient,
                    learning_rate=0.01,
                    **numbers,
                )
        for ours, value in zip(programs.values(variables), expected):
            np.testing.assert_allclose(ours, value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", programs.cases())
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_float32_stays_with_tensorflow(name):
    with np.load(os.environ["ON_TENSORFLOW"]) as file:
        count = sum(key.startswith(f"{name}/") for key in file.files)
        expected = [file[f"{name}/{index}"] for index in range(count)]
    ours = programs.trained(name, programs.cases()[name])
    assert len(ours) == len(expected)
    for mine, theirs in zip(ours, expected):
        allowed = np.maximum(1e-6, 1e-6 * np.abs(theirs))
        assert np.all(np.abs(mine - theirs) <= allowed), np.max(np.abs(mine - theirs))
