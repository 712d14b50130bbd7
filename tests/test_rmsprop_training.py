"""`keras_rmsprop.RMSprop` in Keras: compile, fit, callbacks, precision, replicas."""

import copy
import os
import pickle
import subprocess
import sys
import tempfile
import warnings
from unittest import mock

import cloudpickle
import joblib
import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from faces import combinations, slices, two_cpus

import keras_rmsprop
from keras_rmsprop import migration
from keras_rmsprop.core import compiled, steps
from keras_rmsprop.core.native import steps as native
from keras_rmsprop.update_rule import RULES

EXECUTION = {
    "graph": {},
    "eager": {"run_eagerly": True},
    "xla": {"jit_compile": True},
    "auto": {"jit_compile": "auto"},
}
# Everything around the update that Keras does, each with an effect on training.
AROUND = {
    "plain": {},
    "momentum_centered": {"momentum": 0.9, "centered": True},
    "weight_decay": {"weight_decay": 0.01},
    "clipnorm": {"clipnorm": 0.01},
    "clipvalue": {"clipvalue": 0.001},
    "global_clipnorm": {"global_clipnorm": 0.01},
    "ema": {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 3},
    "loss_scale": {"loss_scale_factor": 8.0},
    "accumulation": {"gradient_accumulation_steps": 2},
}


def a_fifth():
    return 0.2


def through_joblib(optimizer):
    path = os.path.join(tempfile.mkdtemp(), "optimizer")
    joblib.dump(optimizer, path)
    return joblib.load(path)


def dense_model():
    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, "relu", kernel_constraint="non_neg"),
            keras.layers.Dense(3),
        ]
    )


def embedding_model():
    return keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            keras.layers.Embedding(40, 8),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(3),
        ]
    )


def data(model):
    rng = np.random.default_rng(0)
    if model is dense_model:
        return rng.normal(size=(64, 8)).astype("float32"), rng.integers(0, 3, 64)
    return rng.integers(0, 40, (64, 6)), rng.integers(0, 3, 64)


def trained(model_fn, optimizer, epochs=3, callbacks=(), **compile_arguments):
    """Returns the model and its loss history."""
    keras.utils.set_random_seed(0)
    model = model_fn()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, **compile_arguments)
    x, y = data(model_fn)
    history = model.fit(
        x, y, batch_size=16, epochs=epochs, verbose=0, callbacks=list(callbacks)
    )
    return model, history.history["loss"]


def product(**choices):
    return parameterized.named_parameters(*combinations(**choices))


class FitTest(parameterized.TestCase):
    @product(around=AROUND, execution=EXECUTION)
    def test_a_dense_model_trains_as_with_stock_keras(self, around, execution):
        results = [
            trained(dense_model, cls(0.01, **around), **execution)[0].get_weights()
            for cls in (keras_rmsprop.RMSprop, keras.optimizers.RMSprop)
        ]
        for ours, stock in zip(*results):
            # The network amplifies rounding; no setting differs by more.
            np.testing.assert_allclose(ours, stock, rtol=1e-4, atol=1e-4)

    @product(
        around=AROUND,
        execution=EXECUTION,
        sparse_updates={"lazy": "lazy", "dense": "dense"},
    )
    def test_an_embedding_model_learns(self, around, execution, sparse_updates):
        optimizer = keras_rmsprop.RMSprop(0.02, sparse_updates=sparse_updates, **around)
        _, losses = trained(embedding_model, optimizer, **execution)
        self.assertTrue(np.isfinite(losses).all())
        if not any(name.startswith(("clip", "global")) for name in around):
            self.assertLess(losses[-1], losses[0])

    @product(rule={"legacy": "legacy", "tf1": "tf1"}, execution=EXECUTION)
    def test_every_rule_trains_both_models(self, rule, execution):
        for model in (dense_model, embedding_model):
            optimizer = keras_rmsprop.RMSprop(0.02, update_rule=rule, momentum=0.5)
            _, losses = trained(model, optimizer, **execution)
            self.assertLess(losses[-1], losses[0])

    def test_rows_that_no_batch_names_keep_their_initial_values(self):
        model = embedding_model()
        initial = model.layers[0].embeddings.numpy()
        model.compile(keras_rmsprop.RMSprop(0.1), "mse")
        model.fit(np.full((8, 6), 5), np.ones((8, 3)), verbose=0)
        moved = np.any(model.layers[0].embeddings.numpy() != initial, axis=1)
        self.assertEqual(np.flatnonzero(moved).tolist(), [5])

    def test_train_on_batch_and_custom_loops_agree(self):
        x, y = data(dense_model)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        weights = []
        for custom in (False, True):
            keras.utils.set_random_seed(0)
            model, optimizer = dense_model(), keras_rmsprop.RMSprop(0.01)
            model.compile(optimizer, loss)
            for _ in range(3):
                if not custom:
                    model.train_on_batch(x, y)
                    continue
                with tf.GradientTape() as tape:
                    value = loss(y, model(x, training=True))
                grads = tape.gradient(value, model.trainable_variables)
                optimizer.apply(grads, model.trainable_variables)
            weights.append(model.get_weights())
        for a, b in zip(*weights):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def without_native_kernels():
    return mock.patch.object(native, "_take", lambda _: False)


class LargeModelTest(parameterized.TestCase):
    @product(around=AROUND, execution=EXECUTION)
    def test_the_compiled_step_of_large_models_trains_the_same(self, around, execution):
        rate = keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.9)
        results = []
        for threshold in (0, 1 << 40):
            optimizer = keras_rmsprop.RMSprop(rate, **around)
            with (
                without_native_kernels(),
                mock.patch.object(compiled, "MINIMUM_ELEMENTS", threshold),
                mock.patch.object(compiled, "LARGE_ELEMENTS", threshold),
                mock.patch.object(compiled, "program", wraps=compiled.program) as made,
            ):
                model, _ = trained(embedding_model, optimizer, **execution)
            if threshold or execution.get("jit_compile") is True:
                made.assert_not_called()
            else:
                made.assert_called()
            results.append(model.get_weights())
        for a, b in zip(*results):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)

    @product(wrap={"eager": lambda f: f, "graph": tf.function})
    def test_variables_of_one_shape_do_not_touch_each_other(self, wrap):
        together = [tf.Variable(tf.ones((4, 2))) for _ in range(3)]
        gradients = [tf.ones((4, 2)), tf.fill((4, 2), np.nan), 2 * tf.ones((4, 2))]
        optimizer = keras_rmsprop.RMSprop(0.1)
        alone, single = tf.Variable(tf.ones((4, 2))), keras_rmsprop.RMSprop(0.1)
        optimizer.build(together)
        single.build([alone])
        step = wrap(lambda: optimizer.apply(gradients, together))
        step_alone = wrap(lambda: single.apply([2 * tf.ones((4, 2))], [alone]))
        for _ in range(3):
            step()
            step_alone()
        self.assertTrue(np.isnan(together[1].numpy()).all())
        np.testing.assert_allclose(together[2].numpy(), alone.numpy(), rtol=2e-6)
        self.assertLen(optimizer.variables, 2 + 3)  # No momentum slot was kept.

    @product(
        wrap={"eager": lambda f: f, "graph": tf.function},
        arguments={
            "plain": {},
            "momentum": {"momentum": 0.9},
            "rho": {"rho": 0.999},
            "rho_and_momentum": {"rho": 0.9999, "momentum": 0.9},
        },
    )
    def test_small_variables_follow_keras_through_overflow(self, wrap, arguments):
        gradients = np.random.default_rng(0).normal(1, 1, (200, 2)).astype("float32")
        gradients[100] = [2e19, 1e-3]

        def trained_by(make):
            variable, optimizer = keras.Variable([1.0, 2.0]), make(0.01, **arguments)
            optimizer.build([variable])
            step = wrap(lambda gradient: optimizer.apply([gradient], [variable]))
            for gradient in gradients:
                step(tf.constant(gradient))
            return variable.numpy()

        np.testing.assert_allclose(
            trained_by(keras_rmsprop.RMSprop),
            trained_by(keras.optimizers.RMSprop),
            rtol=1e-6,
            atol=1e-6,
        )

    def test_another_rule_of_the_same_slots_takes_effect_between_steps(self):
        def trained_with(*rules):
            variable = tf.Variable([1.0, 2.0])
            optimizer = keras_rmsprop.RMSprop(0.1, epsilon=0.1, update_rule=rules[0])
            for rule in rules:
                optimizer.update_rule = rule
                optimizer.apply([tf.constant([0.5, 0.1])], [variable])
            return variable.numpy()

        both = trained_with("keras", "legacy")
        self.assertFalse(np.array_equal(both, trained_with("keras", "keras")))
        ms = 0.1 * np.square([0.5, 0.1])
        after_one = np.array([1.0, 2.0]) - 0.1 * np.array([0.5, 0.1]) / np.sqrt(
            ms + 0.1
        )
        ms = 0.9 * ms + 0.1 * np.square([0.5, 0.1])
        expected = after_one - 0.1 * np.array([0.5, 0.1]) / (np.sqrt(ms) + 0.1)
        np.testing.assert_allclose(both, expected, rtol=1e-5)

    def test_a_saved_training_step_goes_on_where_it_was(self):
        class Trained(tf.Module):
            def __init__(self):
                super().__init__()
                self.variables_ = [
                    tf.Variable(tf.ones(shape, dtype))
                    for shape in ([2], [3, 4], [5], [])
                    for dtype in ("float32", "float64")
                ]
                self.optimizer = keras_rmsprop.RMSprop(0.1)
                self.optimizer.build(self.variables_)

            @tf.function(input_signature=[tf.TensorSpec([])])
            def step(self, rate):
                gradients = [tf.cast(rate, v.dtype) * v for v in self.variables_]
                self.optimizer.apply(gradients, self.variables_)
                return [v.read_value() for v in self.variables_]

        module, rate = Trained(), tf.constant(0.5)
        module.step(rate)
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(module, folder)
            loaded = tf.saved_model.load(folder)
        for _ in range(20):
            for found, expected in zip(loaded.step(rate), module.step(rate)):
                np.testing.assert_array_equal(found, expected)

    def test_what_was_traced_outside_xla_also_runs_inside(self):
        variable, optimizer = tf.Variable(tf.ones((4, 2))), keras_rmsprop.RMSprop(0.1)
        optimizer.build([variable])
        inner = tf.function(lambda: optimizer.apply([tf.ones((4, 2))], [variable]))
        inner()
        before = variable.numpy()
        tf.function(lambda: inner(), jit_compile=True)()
        self.assertTrue(np.all(variable.numpy() < before))

    def test_only_large_sets_of_variables_are_compiled(self):
        variables = [tf.Variable(tf.ones((n, 1000))) for n in (1000, 700, 60)]
        for count, compiled_ones in ((3, 2), (1, 0)):
            kept = variables[-count:]
            optimizer = keras_rmsprop.RMSprop(0.1)
            optimizer.build(kept)
            with (
                without_native_kernels(),
                mock.patch.object(compiled, "program", wraps=compiled.program) as made,
            ):
                optimizer.apply([tf.ones_like(v) for v in kept], kept)
            self.assertEqual(made.call_count, compiled_ones)

    @product(
        shapes={"large": [(1100, 1000), (2, 1000)], "many": [(3, 3)] * 5 + [(4,)] * 5},
        centered={"plain": False, "centered": True},
    )
    def test_an_eager_step_in_one_call_follows_what_is_changed_between_steps(
        self, shapes, centered
    ):
        finals = []
        for functions_run_eagerly in (False, True):
            tf.config.run_functions_eagerly(functions_run_eagerly)
            self.addCleanup(tf.config.run_functions_eagerly, False)
            variables = [tf.Variable(tf.ones(shape)) for shape in shapes]
            optimizer = keras_rmsprop.RMSprop(0.1, momentum=0.9, centered=centered)
            for changed in ({}, {"momentum": 0.5}, {"rho": 0.5}, {"epsilon": 1e-2}):
                for name, value in changed.items():
                    setattr(optimizer, name, value)
                optimizer.apply([tf.ones_like(v) for v in variables], variables)
            for subset in (variables[:1], variables[1:]) * 3:
                optimizer.apply([tf.ones_like(v) for v in subset], subset)
            finals.append([v.numpy()[:2] for v in variables])
        for a, b in zip(*finals):
            np.testing.assert_allclose(a, b, rtol=1e-5)

    @product(
        case={
            "centered": ({"centered": True}, "float32", 0.1),
            "rho": ({"rho": 0.99}, "float32", 0.1),
            "float64": ({}, "float64", 0.1),
            "overflow": ({}, "float32", 1e30),
        }
    )
    def test_many_small_variables_without_a_kernel_are_updated_in_one_call(self, case):
        arguments, dtype, size = case
        finals = []
        for kind in (keras_rmsprop.RMSprop, keras.optimizers.RMSprop):
            variables = [tf.Variable(tf.ones((2, 3), dtype)) for _ in range(9)]
            optimizer = kind(0.1, momentum=0.9, **arguments)
            optimizer.build(variables)
            with (
                without_native_kernels(),
                mock.patch.dict(steps._GRAPHS, clear=True),
                mock.patch.object(
                    steps, "apply_dense", wraps=steps.apply_dense
                ) as traced,
            ):
                for step in range(4):
                    optimizer.momentum = 0.9 - 0.1 * step
                    optimizer.epsilon = 1e-7 * (1 + step)
                    gradient = tf.constant([[1.0, -2.0, 0.5]] * 2) * (size + step)
                    gradients = [tf.cast(gradient, dtype)] * 9
                    optimizer.apply(gradients, variables)
            if kind is keras_rmsprop.RMSprop:
                self.assertEqual(traced.call_count, 9)
            finals.append([tf.cast(v, tf.float64) for v in variables])
        np.testing.assert_allclose(*finals, rtol=1e-5, atol=1e-5)

    @product(rows={"small": 2, "large": 1000})
    def test_a_variable_given_twice_takes_both_steps_in_order(self, rows):
        for wrap in (lambda f: f, tf.function):
            variables = [tf.Variable(tf.ones([n * rows, 1000])) for n in (3, 2, 1)]
            optimizer = keras_rmsprop.RMSprop(0.1)
            optimizer.build(variables)
            gradients = [tf.ones_like(v) for v in variables] + [10 * variables[-1]]
            # The last is passed in: it is not to be read after the first step.
            step = wrap(lambda g: optimizer.apply(g, [*variables, variables[-1]]))
            step(gradients)
            ms = 0.1
            expected = 1 - 0.1 / np.sqrt(ms)
            expected -= 0.1 * 10 / np.sqrt(0.9 * ms + 0.1 * 100)
            np.testing.assert_allclose(variables[-1][0, :2], expected, rtol=1e-5)

    @product(
        momentum={"plain": 0.0, "momentum": 0.9}, rule={"keras": "keras", "tf1": "tf1"}
    )
    def test_a_sparse_step_never_reads_the_whole_table(self, momentum, rule):
        variable = tf.Variable(tf.ones((1000, 4)))
        optimizer = keras_rmsprop.RMSprop(0.1, momentum=momentum, update_rule=rule)
        optimizer.build([variable])

        @tf.function
        def step():
            optimizer.apply([slices(tf.ones((2, 4)), [3, 5], rows=1000)], [variable])

        # Whoever holds a value that was read makes the update copy the table.
        for operation in step.get_concrete_function().graph.get_operations():
            for output in operation.outputs:
                self.assertNotEqual(output.shape, (1000, 4), operation.name)


class LearningRateTest(parameterized.TestCase):
    def test_a_schedule_a_callable_and_a_float_agree(self):
        rates = (
            0.01,
            lambda: 0.01,
            keras.optimizers.schedules.PiecewiseConstantDecay([100], [0.01, 0.02]),
        )
        weights = [
            trained(dense_model, keras_rmsprop.RMSprop(r))[0].get_weights()
            for r in rates
        ]
        for others in weights[1:]:
            for a, b in zip(weights[0], others):
                np.testing.assert_array_equal(a, b)

    def test_a_schedule_is_evaluated_every_step(self):
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.1, 0.0])
        optimizer, variable = keras_rmsprop.RMSprop(schedule), tf.Variable([1.0])
        step = tf.function(lambda: optimizer.apply([tf.ones(1)], [variable]))
        values = []
        for _ in range(4):
            step()
            values.append(float(variable[0]))
        self.assertLess(values[1], values[0])
        self.assertEqual(values[1], values[3])

    def test_callbacks_change_the_rate_of_a_compiled_model(self):
        halve = keras.callbacks.LearningRateScheduler(lambda _, rate: rate / 2)
        optimizer = keras_rmsprop.RMSprop(0.08)
        trained(dense_model, optimizer, callbacks=[halve])
        self.assertAlmostEqual(float(optimizer.learning_rate), 0.01)
        plateau = keras.callbacks.ReduceLROnPlateau(
            "loss", factor=0.1, patience=1, min_delta=100.0
        )
        optimizer = keras_rmsprop.RMSprop(0.01)
        trained(dense_model, optimizer, epochs=2, callbacks=[plateau])
        self.assertAlmostEqual(float(optimizer.learning_rate), 0.001)

    def test_a_negative_rate_ascends(self):
        variable = tf.Variable(1.0)
        keras_rmsprop.RMSprop(-0.1).apply([tf.constant(2.0)], [variable])
        self.assertGreater(float(variable), 1.0)

    @parameterized.parameters(float("nan"), float("inf"), "fast", None)
    def test_a_bad_rate_is_refused_by_name(self, rate):
        with self.assertRaisesRegex(ValueError, "`learning_rate`.*Received"):
            keras_rmsprop.RMSprop(rate)
        optimizer = keras_rmsprop.RMSprop(0.5)
        with self.assertRaisesRegex(ValueError, "`learning_rate`.*Received"):
            optimizer.learning_rate = rate
        self.assertEqual(float(optimizer.learning_rate), 0.5)


class PrecisionTest(parameterized.TestCase):
    def tearDown(self):
        keras.mixed_precision.set_global_policy("float32")
        super().tearDown()

    @product(
        policy={p: p for p in ("mixed_float16", "mixed_bfloat16")},
        model={"dense": dense_model, "embedding": embedding_model},
        execution=EXECUTION,
    )
    def test_mixed_precision_trains(self, policy, model, execution):
        keras.mixed_precision.set_global_policy(policy)
        _, losses = trained(model, keras_rmsprop.RMSprop(0.02), **execution)
        self.assertLess(losses[-1], losses[0])

    @parameterized.parameters("float16", "bfloat16", "float64")
    def test_models_of_other_dtypes_train(self, dtype):
        keras.mixed_precision.set_global_policy(dtype)
        for model in (dense_model, embedding_model):
            optimizer = keras_rmsprop.RMSprop(0.02, epsilon=1e-3)
            _, losses = trained(model, optimizer)
            self.assertLess(losses[-1], losses[0])

    def test_a_loss_scale_optimizer_skips_steps_that_overflow(self):
        optimizer = keras.optimizers.LossScaleOptimizer(keras_rmsprop.RMSprop(0.1))
        variable = keras.Variable([[1.0], [2.0]])
        for bad in (tf.constant([[np.inf], [1.0]]), slices([[np.nan]], [1], rows=2)):
            optimizer.apply([bad], [variable])
            np.testing.assert_array_equal(variable.numpy(), [[1.0], [2.0]])
        optimizer.apply([tf.constant([[1e4], [1e4]])], [variable])
        self.assertTrue(np.all(variable.numpy() < [[1.0], [2.0]]))


class SparseClippingTest(parameterized.TestCase):
    @product(
        clipping={k: AROUND[k] for k in ("clipnorm", "clipvalue", "global_clipnorm")}
    )
    def test_slices_are_clipped_like_the_dense_gradient(self, clipping):
        values = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
        sparse = slices(values, [2, 0, 2, 1], rows=3)
        results = []
        for gradient in (sparse, tf.convert_to_tensor(sparse)):
            for jit_compile in (None, True):
                variable = tf.Variable(tf.ones((3, 3)))
                optimizer = keras_rmsprop.RMSprop(0.1, **clipping)
                step = tf.function(
                    lambda: optimizer.apply([gradient], [variable]),
                    jit_compile=jit_compile,
                )
                for _ in range(2):
                    step()
                results.append(variable.numpy())
        for other in results[1:]:
            np.testing.assert_allclose(results[0], other, rtol=1e-5, atol=1e-6)


class StrategyTest(parameterized.TestCase):
    @product(
        model={"dense": dense_model, "embedding": embedding_model},
        arguments={"plain": {}, "momentum": {"momentum": 0.9, "centered": True}},
    )
    def test_fit_on_two_replicas_equals_one(self, model, arguments):
        with two_cpus().scope():
            optimizer = keras_rmsprop.RMSprop(0.01, **arguments)
            mirrored, _ = trained(model, optimizer)
        alone, _ = trained(model, keras_rmsprop.RMSprop(0.01, **arguments))
        for a, b in zip(mirrored.get_weights(), alone.get_weights()):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)

    @product(
        arguments={
            "clipnorm": {"clipnorm": 0.5},
            "clipvalue": {"clipvalue": 0.1},
            "global_clipnorm": {"global_clipnorm": 0.5},
            "legacy": {"global_clipnorm": 0.5, "update_rule": "legacy"},
            "accumulation": {"gradient_accumulation_steps": 2, "clipnorm": 0.5},
            "averages": {"use_ema": True, "ema_overwrite_frequency": 3},
            "averages_keras2": {
                "use_ema": True,
                "ema_overwrite_frequency": 3,
                "update_rule": "keras2",
            },
            "all": {
                "weight_decay": 0.01,
                "momentum": 0.9,
                "global_clipnorm": 0.5,
                "gradient_accumulation_steps": 2,
                "use_ema": True,
                "ema_overwrite_frequency": 2,
            },
        },
        wrap={"eager": lambda f: f, "graph": tf.function},
    )
    def test_what_is_around_the_update_is_that_of_the_joint_batch(
        self, arguments, wrap
    ):
        parts = np.random.default_rng(0).normal(size=(6, 2, 4, 3)).astype("float32")

        def send(gradient):
            # A table's gradient names one of its rows twice.
            return [gradient, slices(gradient[:3], [2, 0, 2], rows=4)]

        def made():
            variables = [tf.Variable(tf.ones((4, 3))) for _ in range(2)]
            optimizer = keras_rmsprop.RMSprop(0.05, **arguments)
            optimizer.build(variables)
            return variables, optimizer

        strategy = two_cpus()
        with strategy.scope():
            mirrored, optimizer = made()
        alone, single = made()

        @wrap
        def replicated_step(pair):
            def step():
                replica = tf.distribute.get_replica_context()
                own = pair[tf.cast(replica.replica_id_in_sync_group, tf.int32)]
                optimizer.apply(send(own), mirrored)

            strategy.run(step)

        @wrap
        def joint_step(pair):
            values = tf.concat([pair[0, :3], pair[1, :3]], axis=0)
            joint = slices(values, [2, 0, 2] * 2, rows=4)
            single.apply([pair[0] + pair[1], joint], alone)

        for pair in parts:
            replicated_step(tf.constant(pair))
            joint_step(tf.constant(pair))
        found = (*mirrored, *(v.value for v in optimizer.variables))
        expected = (*alone, *single.variables)
        for distributed, variable in zip(found, expected, strict=True):
            for replica in strategy.experimental_local_results(distributed):
                np.testing.assert_allclose(
                    replica.numpy(), variable.numpy(), rtol=1e-5, atol=1e-6
                )

    def test_fit_on_two_replicas_does_around_the_update_as_one(self):
        arguments = {
            "global_clipnorm": 0.01,
            "gradient_accumulation_steps": 2,
            "use_ema": True,
            "ema_overwrite_frequency": 3,
        }
        with two_cpus().scope():
            optimizer = keras_rmsprop.RMSprop(0.01, **arguments)
            mirrored, _ = trained(dense_model, optimizer)
        alone, _ = trained(dense_model, keras_rmsprop.RMSprop(0.01, **arguments))
        for a, b in zip(mirrored.get_weights(), alone.get_weights()):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


class SubclassTest(parameterized.TestCase):
    def test_an_own_update_step_is_called(self):
        class Reversed(keras_rmsprop.RMSprop):
            def update_step(self, gradient, variable, learning_rate):
                super().update_step(-gradient, variable, learning_rate)

        variable = tf.Variable([1.0])
        Reversed(0.1).apply([tf.ones(1)], [variable])
        self.assertGreater(float(variable[0]), 1.0)

    def test_overwritten_variables_take_their_gradient(self):
        replaced, trained_one = keras.Variable([1.0]), keras.Variable([1.0])
        replaced.overwrite_with_gradient = True
        optimizer = keras_rmsprop.RMSprop(0.1)
        optimizer.build([replaced, trained_one])
        optimizer.apply([tf.constant([5.0]), tf.ones(1)])
        self.assertEqual(replaced.numpy().tolist(), [5.0])
        with self.assertWarnsRegex(UserWarning, "Gradients do not exist"):
            optimizer.apply([None, tf.ones(1)])
            optimizer.apply([tf.constant([7.0]), None])
        self.assertEqual(replaced.numpy().tolist(), [7.0])
        self.assertEqual(int(optimizer.iterations), 3)


class CopiesTest(parameterized.TestCase):
    def trained_optimizer(self):
        variable = keras.Variable(np.ones((3, 2), "float32"))
        optimizer = keras_rmsprop.RMSprop(0.1, momentum=0.9, update_rule="tf1")
        optimizer.apply([tf.ones((3, 2))], [variable])
        return optimizer, variable

    def test_a_deep_copy_carries_the_state_and_has_its_own(self):
        optimizer, variable = self.trained_optimizer()
        twin = copy.deepcopy(optimizer)
        twin.build([variable])
        for a, b in zip(optimizer.variables, twin.variables):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
        twin.apply([tf.ones((3, 2))], [variable])
        self.assertEqual(int(optimizer.iterations), 1)
        self.assertEqual(int(twin.iterations), 2)

    @product(
        copied={
            "pickle": lambda o: pickle.loads(pickle.dumps(o)),
            "pickle_twice": lambda o: pickle.loads(
                pickle.dumps(pickle.loads(pickle.dumps(o)))
            ),
            "cloudpickle": lambda o: cloudpickle.loads(cloudpickle.dumps(o)),
            "joblib": through_joblib,
            "copy": copy.copy,
            "deepcopy": copy.deepcopy,
        },
        arguments={
            "plain": {},
            "all_slots": {"momentum": 0.9, "centered": True},
            "around": {
                "use_ema": True,
                "gradient_accumulation_steps": 2,
                "weight_decay": 0.1,
            },
            "schedule": {
                "learning_rate": keras.optimizers.schedules.ExponentialDecay(
                    0.1, 2, 0.5
                )
            },
            "lambda": {"learning_rate": lambda: 0.2},
            "function": {"learning_rate": a_fifth},
        },
    )
    def test_a_copy_goes_on_as_its_original(self, copied, arguments):
        gradients = [tf.ones((3, 2)), tf.constant([1.0, -2.0])]
        trained = [keras.Variable(np.ones((3, 2))), tf.Variable([1.0, 2.0])]
        optimizer = keras_rmsprop.RMSprop(**{"learning_rate": 0.1, **arguments})
        optimizer.exclude_from_weight_decay(var_list=[trained[1]], var_names=["none"])
        optimizer.build(trained)
        for _ in range(3):
            optimizer.apply(gradients, trained)
        optimizer_state = [v.numpy() for v in optimizer.variables]
        others = [keras.Variable(trained[0].numpy()), tf.Variable(trained[1])]
        twin = copied(optimizer)
        twin.build(others)
        for variable, value in zip(twin.variables, optimizer_state, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)
        for _ in range(3):
            optimizer.apply(gradients, trained)
            twin.apply(gradients, others)
        for a, b in zip(trained, others):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
        self.assertEqual(int(twin._iterations), 6)

    @product(
        copied={
            "pickle": lambda o: pickle.loads(pickle.dumps(o)),
            "copy": copy.copy,
            "deepcopy": copy.deepcopy,
        }
    )
    def test_a_copy_that_waits_for_its_variables(self, copied):
        unbuilt = keras_rmsprop.RMSprop(0.1, momentum=0.9)
        unbuilt.iterations.assign(7)
        twin = copied(unbuilt)
        self.assertFalse(twin.built)
        self.assertEqual(int(twin.iterations), 7)
        optimizer, variable = self.trained_optimizer()
        twin = copied(optimizer)
        twin.learning_rate = 0.5  # Set in between, it stays.
        store = {}
        twin.save_own_variables(store)
        self.assertEqual(sorted(store), ["0", "1", "2", "3"])
        np.testing.assert_array_equal(store["2"], optimizer.variables[2].numpy())
        with self.assertRaisesRegex(ValueError, r"a copy of.*\(3, 2\).*\(4,\)"):
            twin.build([tf.Variable(tf.ones(4))])
        twin.build([variable])
        self.assertEqual(float(twin.learning_rate), 0.5)
        np.testing.assert_array_equal(
            twin.variables[2].numpy(), optimizer.variables[2].numpy()
        )

    def test_a_copy_of_one_that_grew_takes_all_at_once(self):
        trained = [tf.Variable(tf.ones(2)), tf.Variable(tf.ones(3))]
        optimizer = keras_rmsprop.RMSprop(0.1, momentum=0.9)
        optimizer.apply([tf.ones(2)], trained[:1])
        optimizer.apply([tf.ones(2), tf.ones(3)], trained)
        twin = pickle.loads(pickle.dumps(optimizer))
        twin.build(trained)
        for a, b in zip(optimizer.variables, twin.variables, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())

    def test_a_pickled_model_goes_on(self):
        model, _ = trained(dense_model, keras_rmsprop.RMSprop(0.01, momentum=0.9))
        other = pickle.loads(pickle.dumps(model))
        self.assertIs(type(other.optimizer), keras_rmsprop.RMSprop)
        x, y = data(dense_model)
        for each in (model, other):
            each.fit(x, y, batch_size=16, verbose=0, shuffle=False)
        for a, b in zip(model.get_weights(), other.get_weights()):
            np.testing.assert_array_equal(a, b)

    def test_exclusions_by_variable_do_not_travel_before_they_are_known(self):
        optimizer = keras_rmsprop.RMSprop(0.1, weight_decay=0.1)
        optimizer.exclude_from_weight_decay(var_list=[tf.Variable([1.0])])
        with self.assertRaisesRegex(pickle.PicklingError, "var_names"):
            pickle.dumps(optimizer)

    def test_an_optimizer_and_its_variables_copied_together_go_on(self):
        optimizer, variable = self.trained_optimizer()
        optimizer.learning_rate = lambda: 0.1
        twin, other = copy.deepcopy((optimizer, variable))
        for each, target in ((optimizer, variable), (twin, other)):
            each.apply([tf.ones((3, 2))], [target])
        np.testing.assert_array_equal(variable.numpy(), other.numpy())

    def test_pickling_and_serialization_keep_class_and_config(self):
        optimizer, _ = self.trained_optimizer()
        serialized = keras.optimizers.serialize(optimizer)
        for twin in (
            pickle.loads(pickle.dumps(optimizer)),
            keras.optimizers.deserialize(serialized),
            keras.optimizers.get(keras.optimizers.serialize(optimizer)),
        ):
            self.assertIs(type(twin), keras_rmsprop.RMSprop)
            self.assertEqual(twin.get_config(), optimizer.get_config())

    def test_state_of_another_shape_is_refused_before_anything_changes(self):
        optimizer, _ = self.trained_optimizer()
        before = [v.numpy() for v in optimizer.variables]
        wrong = [value + 1 for value in before[:-1]] + [np.zeros((2, 2))]
        with self.assertRaisesRegex(ValueError, r"\(3, 2\).*momentum.*\(2, 2\)"):
            optimizer.set_weights(wrong)
        with self.assertRaisesRegex(ValueError, r"\(3, 2\).*momentum.*\(2, 2\)"):
            optimizer.load_own_variables({str(i): w for i, w in enumerate(wrong)})
        with self.assertRaisesRegex(ValueError, "`weights` must hold 4.*Received: 3"):
            optimizer.set_weights(wrong[:-1])
        for old, variable in zip(before, optimizer.variables):
            np.testing.assert_array_equal(old, variable.numpy())

    def test_a_truncated_file_is_refused_and_changes_nothing(self):
        model, _ = trained(dense_model, keras_rmsprop.RMSprop(0.01))
        path = os.path.join(tempfile.mkdtemp(), "model.weights.h5")
        model.save_weights(path)
        with open(path, "rb+") as file:
            file.truncate(os.path.getsize(path) // 2)
        before = [v.numpy() for v in model.optimizer.variables]
        with self.assertRaises(OSError):
            model.load_weights(path)
        for old, variable in zip(before, model.optimizer.variables):
            np.testing.assert_array_equal(old, variable.numpy())


class HyperparametersTest(parameterized.TestCase):
    @parameterized.parameters(*RULES)
    def test_epsilon_of_none_is_that_of_the_rule(self, name):
        optimizer = keras_rmsprop.RMSprop(0.01, epsilon=None, update_rule=name)
        self.assertEqual(optimizer.epsilon, RULES[name].default_epsilon)
        self.assertEqual(optimizer.get_config()["epsilon"], optimizer.epsilon)
        optimizer.epsilon = 0.5
        optimizer.epsilon = None
        self.assertEqual(optimizer.epsilon, RULES[name].default_epsilon)

    def test_translated_arguments_name_the_epsilon_of_the_rule(self):
        given = {"learning_rate": 0.01, "update_rule": "tf1", "epsilon": None}
        for target in ("keras_rmsprop.RMSprop", "compat_v1.train.RMSPropOptimizer"):
            found = migration.arguments(("keras", given), target=target)
            self.assertEqual(found.arguments["epsilon"], 1e-10)

    def test_the_tf1_rule_with_its_epsilon_is_the_tf1_class(self):
        ours, theirs = tf.Variable([1.0, 2.0]), tf.Variable([1.0, 2.0])
        modern = keras_rmsprop.RMSprop(0.01, update_rule="tf1", epsilon=None)
        shipped = tf.compat.v1.train.RMSPropOptimizer(0.01)
        for _ in range(3):
            modern.apply([tf.constant([1e-4, 2.0])], [ours])
            shipped.apply_gradients([(tf.constant([1e-4, 2.0]), theirs)])
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())

    @product(
        change={
            name: {name: value}
            for name, value in {
                "rho": 0.5,
                "momentum": 0.5,
                "epsilon": 1e-3,
                "clipnorm": 1.0,
                "learning_rate": lambda: 0.5,
            }.items()
        }
    )
    def test_what_a_compiled_function_keeps_is_said(self, change):
        ((name, value),) = change.items()
        optimizer, variable = (
            keras_rmsprop.RMSprop(0.1, momentum=0.9),
            tf.Variable([1.0]),
        )
        step = tf.function(lambda: optimizer.apply([tf.ones(1)], [variable]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            optimizer.apply([tf.ones(1)], [variable])
            setattr(optimizer, name, value)  # Eager steps take it.
            step()
            setattr(optimizer, name, value)  # It is what the function has.
            if name == "learning_rate":
                return
        with self.assertWarnsRegex(UserWarning, f"former `{name}`") as caught:
            setattr(optimizer, name, value / 2)
        self.assertEqual(caught.filename, __file__)

    def test_a_rate_that_is_a_number_takes_effect_in_compiled_functions(self):
        optimizer, variable = keras_rmsprop.RMSprop(0.1), tf.Variable([1.0])
        step = tf.function(lambda: optimizer.apply([tf.ones(1)], [variable]))
        step()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            optimizer.learning_rate = 0.0
        before = variable.numpy()
        step()
        np.testing.assert_array_equal(variable.numpy(), before)
        with self.assertWarnsRegex(UserWarning, "former `learning_rate`"):
            optimizer.learning_rate = lambda: 0.5


class BadInputTest(parameterized.TestCase):
    @parameterized.parameters(
        {"update_rule": "tf2"},
        {"sparse_updates": "eager"},
        {"clipnorm": -1.0},
        {"clipvalue": 0.0},
        {"global_clipnorm": float("nan")},
        {"weight_decay": -0.1},
        {"loss_scale_factor": 0.0},
    )
    def test_arguments_out_of_range_are_refused_by_name(self, **wrong):
        with self.assertRaisesRegex(ValueError, f"`{next(iter(wrong))}`.*Received"):
            keras_rmsprop.RMSprop(**wrong)

    def test_gradients_and_variables_must_match_in_number(self):
        optimizer = keras_rmsprop.RMSprop()
        with self.assertRaisesRegex(ValueError, "1 gradients for 2 variables"):
            optimizer.apply([tf.ones(1)], [tf.Variable([1.0]), tf.Variable([1.0])])
        self.assertFalse(optimizer.built)

    def test_variables_must_be_floating(self):
        optimizer = keras_rmsprop.RMSprop()
        with self.assertRaisesRegex(ValueError, "int32"):
            optimizer.build([keras.Variable([1, 2], dtype="int32")])
        self.assertFalse(optimizer.built)

    @parameterized.parameters(((2, 3),), ((1,),), ((),))
    def test_shapes_known_only_at_run_time_are_checked_before_the_step(self, shape):
        first, second = tf.Variable(tf.ones(3)), tf.Variable(tf.ones(3))
        optimizer = keras_rmsprop.RMSprop(0.1)
        optimizer.build([first, second])

        @tf.function(input_signature=[tf.TensorSpec(None)])
        def step(gradient):
            optimizer.apply([tf.ones(3), gradient], [first, second])

        with self.assertRaises(tf.errors.InvalidArgumentError):
            step(tf.ones(shape))
        np.testing.assert_array_equal(first.numpy(), np.ones(3))
        np.testing.assert_array_equal(second.numpy(), np.ones(3))
        self.assertEqual(int(optimizer.iterations), 0)
        step(tf.ones(3))
        self.assertEqual(int(optimizer.iterations), 1)

    @parameterized.parameters(((1, 1),), ((1,),), ((2, 2),))
    def test_slices_of_unknown_rank_are_checked_before_the_step(self, shape):
        for arguments in ({}, {"momentum": 0.9}, {"sparse_updates": "dense"}):
            variable = tf.Variable(tf.ones((3, 2)))
            optimizer = keras_rmsprop.RMSprop(0.1, **arguments)
            optimizer.build([variable])

            @tf.function(input_signature=[tf.TensorSpec(None)])
            def step(values, optimizer=optimizer, variable=variable):
                optimizer.apply([tf.IndexedSlices(values, [1])], [variable])

            with self.assertRaises(tf.errors.InvalidArgumentError):
                step(tf.ones(shape))
            for value in (variable, *optimizer.variables[2:]):
                self.assertLen(set(value.numpy().ravel()), 1)
            step(tf.ones((1, 2)))

    @parameterized.parameters(
        {"momentum": 0.9}, {"centered": True}, {"update_rule": "tf1"}
    )
    def test_what_needs_other_slots_cannot_be_set_once_built(self, **change):
        optimizer, variable = keras_rmsprop.RMSprop(), tf.Variable([1.0])
        optimizer.build([variable])
        ((name, value),) = change.items()
        with self.assertRaisesRegex(ValueError, f"`{name}` cannot be set"):
            setattr(optimizer, name, value)
        with self.assertRaisesRegex(ValueError, "`rho` must be"):
            optimizer.rho = 2.0

    def test_variables_of_another_strategy_are_refused(self):
        with two_cpus().scope():
            variable = keras.Variable([1.0, 2.0])
        with self.assertRaisesRegex(ValueError, "same scope"):
            keras_rmsprop.RMSprop().build([variable])

    def test_in_a_graph_an_index_out_of_range_stops_the_step_before_it_starts(self):
        first, second = tf.Variable(tf.ones((3, 2))), tf.Variable(tf.ones((3, 2)))
        optimizer = keras_rmsprop.RMSprop(0.1)

        @tf.function
        def step(index):
            bad = tf.IndexedSlices(tf.ones((1, 2)), index, tf.constant([3, 2]))
            optimizer.apply([tf.ones((3, 2)), bad], [first, second])

        step(tf.constant([0]))
        before = first.numpy()
        with self.assertRaisesRegex(tf.errors.InvalidArgumentError, r"\[0, 2\]"):
            step(tf.constant([3]))
        np.testing.assert_array_equal(first.numpy(), before)
        self.assertEqual(int(optimizer.iterations), 1)

    def test_another_keras_backend_is_refused_with_the_way_out(self):
        code = (
            "import keras; keras.backend.backend = lambda: 'numpy'; "
            "import keras_rmsprop.rmsprop"
        )
        result = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True
        )
        self.assertIn("Received: keras.backend.backend() == 'numpy'", result.stderr)
        self.assertIn("KERAS_BACKEND to one of them", result.stderr)
