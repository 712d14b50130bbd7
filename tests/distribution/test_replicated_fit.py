"""Keras' `fit` on two replicas: what works, and what does not with any optimizer.

Where Keras or TensorFlow is the limit, an optimizer that does nothing, or no more than
is named, meets it too. Those tests fail once the limit is gone, and then
`docs/distributing.md` has to be changed.
"""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from faces import two_cpus

import keras_rmsprop
from keras_rmsprop import legacy

SINGLE = tf.distribute.get_strategy
MODERN = keras_rmsprop.RMSprop


class DoesNothing(keras.optimizers.Optimizer):
    def apply(self, grads, trainable_variables=None):
        pass


class OnlySums(keras.optimizers.Optimizer):
    def apply(self, grads, trainable_variables=None):
        context = tf.distribute.get_replica_context()
        context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))


class UpdatesNothing(keras.optimizers.Optimizer):
    def update_step(self, gradient, variable, learning_rate):
        pass


def fit(strategy, make, **compiled):
    """Returns a model with an embedding that was trained with batches in order."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    rows, targets = rng.integers(0, 12, size=(48, 3)), rng.normal(size=(48, 1))
    with strategy.scope():
        model = keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Embedding(12, 4),
                keras.layers.Flatten(),
                keras.layers.Dense(1),
            ]
        )
        model.compile(make(), "mse", **compiled)
    model.fit(rows, targets, batch_size=8, epochs=2, shuffle=False, verbose=0)
    return model


class ConditionalStepTest(parameterized.TestCase):
    """Steps that decide at run time whether they update."""

    @parameterized.named_parameters(
        ("accumulation", dict(gradient_accumulation_steps=2, global_clipnorm=0.1)),
        ("decay", dict(gradient_accumulation_steps=3, weight_decay=0.1)),
        ("overwriting", dict(use_ema=True, ema_overwrite_frequency=2)),
        (
            "both",
            dict(
                use_ema=True,
                ema_overwrite_frequency=2,
                gradient_accumulation_steps=2,
                update_rule="keras2",
            ),
        ),
    )
    def test_two_replicas_equal_one(self, arguments):
        def make():
            return MODERN(0.05, ema_momentum=0.5, **arguments)

        models = [fit(scope(), make) for scope in (two_cpus, SINGLE)]
        for two, one in zip(*(model.get_weights() for model in models)):
            np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5)
        for variable in models[0].trainable_variables:
            copies = two_cpus().experimental_local_results(variable.value)
            np.testing.assert_array_equal(*copies)

    @parameterized.parameters(
        dict(gradient_accumulation_steps=2),
        dict(use_ema=True, ema_overwrite_frequency=2),
    )
    def test_keras_own_step_merges_within_a_condition(self, **arguments):
        with pytest.raises(RuntimeError, match="merge_call"):
            fit(two_cpus(), lambda: UpdatesNothing(0.1, **arguments))


class LimitsTest(parameterized.TestCase):
    def test_keras_compiles_all_replicas_into_one_program(self):
        with pytest.raises(tf.errors.InvalidArgumentError, match="different_device"):
            fit(two_cpus(), lambda: DoesNothing(0.1), jit_compile=True)

    def test_tensorflow_sums_with_collectives_fail_in_several_steps_a_call(self):
        with pytest.raises(tf.errors.InvalidArgumentError, match="placeholder"):
            fit(two_cpus(), lambda: OnlySums(0.1), steps_per_execution=3)

    @parameterized.parameters(
        MODERN, functools.partial(legacy.RMSprop, sparse_updates="lazy")
    )
    def test_other_sums_take_several_steps_a_call(self, make):
        strategy = tf.distribute.MirroredStrategy(
            ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
        )
        models = [
            fit(strategy, lambda: make(0.05), steps_per_execution=3),
            fit(SINGLE(), lambda: make(0.05)),
        ]
        for two, one in zip(*(model.get_weights() for model in models)):
            np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-5)
