"""`legacy.RMSprop` trains Keras 3 models in every mode of `compile` and `fit`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from faces import two_cpus

from keras_rmsprop import legacy

RULES = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "centered": {"centered": True},
    "centered_momentum": {"centered": True, "momentum": 0.9},
}
MODES = {
    "compiled": {"jit_compile": False},
    "xla": {"jit_compile": True},
    "eager": {"run_eagerly": True},
}


def model_of(kind, optimizer, **compile_arguments):
    keras.utils.set_random_seed(3)
    if kind == "embedding":
        head = [
            keras.layers.Input((4,), dtype="int32"),
            keras.layers.Embedding(12, 5),
            keras.layers.Flatten(),
        ]
    else:
        head = [keras.layers.Input((4,)), keras.layers.Dense(8, activation="relu")]
    model = keras.Sequential([*head, keras.layers.Dense(1, dtype="float32")])
    model.compile(optimizer, loss="mse", **compile_arguments)
    return model


def data():
    random = np.random.default_rng(2)
    x = random.integers(0, 12, size=(16, 4)).astype("int32")
    return x, (x.sum(axis=1, keepdims=True) / 10).astype("float32")


def fit(model, epochs=4, **arguments):
    x, y = data()
    return model.fit(
        x, y, batch_size=16, epochs=epochs, shuffle=False, verbose=0, **arguments
    ).history["loss"]


class OnEpoch(keras.callbacks.Callback):
    """Calls a function with the optimizer before each epoch but the first."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def on_epoch_begin(self, epoch, logs=None):
        if epoch:
            self.function(self.model.optimizer)


class TrainingTest(parameterized.TestCase):
    @parameterized.product(
        kind=["dense", "embedding"], rule=list(RULES), mode=["xla", "eager"]
    )
    def test_every_mode_takes_the_steps_of_compiled_fit(self, kind, rule, mode):
        weights = []
        for name in ("compiled", mode):
            optimizer = legacy.RMSprop(0.01, sparse_updates="lazy", **RULES[rule])
            model = model_of(kind, optimizer, **MODES[name])
            loss = fit(model)
            self.assertLess(loss[-1], loss[0])
            weights.append(model.get_weights() + optimizer.get_weights())
        for a, b in zip(*weights, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

    @parameterized.product(kind=["dense", "embedding"], rule=["plain", "momentum"])
    def test_mixed_precision_trains(self, kind, rule):
        keras.mixed_precision.set_global_policy("mixed_float16")
        try:
            model = model_of(
                kind, legacy.RMSprop(0.01, sparse_updates="lazy", **RULES[rule])
            )
            self.assertIsInstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
            # The first steps only find a scale that float16 can hold.
            loss = fit(model, epochs=20)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        self.assertLess(loss[-1], loss[0])
        self.assertGreater(int(model.optimizer.inner_optimizer.iterations), 0)

    def test_a_fixed_loss_scale_changes_nothing(self):
        weights = []
        for scale in (None, 128.0):
            optimizer = legacy.RMSprop(0.01, sparse_updates="lazy")
            optimizer.loss_scale_factor = scale
            model = model_of("embedding", optimizer)
            fit(model)
            weights.append(model.get_weights())
        for a, b in zip(*weights):
            np.testing.assert_array_equal(a, b)

    @parameterized.product(
        kind=["dense", "embedding"],
        rule=["plain", "centered_momentum"],
        sparse_updates=["lazy", "dense"],
    )
    def test_two_replicas_equal_one_on_the_joint_batch(
        self, kind, rule, sparse_updates
    ):
        weights = []
        for scope in (tf.distribute.get_strategy().scope, two_cpus().scope):
            with scope():
                model = model_of(
                    kind,
                    legacy.RMSprop(0.01, sparse_updates=sparse_updates, **RULES[rule]),
                )
            fit(model)
            weights.append(model.get_weights() + model.optimizer.get_weights())
        for a, b in zip(*weights, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)

    @parameterized.parameters("learning_rate", "lr", "rho", "momentum", "decay")
    def test_a_callback_changes_a_hyperparameter_of_a_compiled_fit(self, name):
        def weights_after(callbacks):
            optimizer = legacy.RMSprop(0.01, momentum=0.9, decay=0.01)
            model = model_of("dense", optimizer, jit_compile=False)
            fit(model, callbacks=callbacks)
            return optimizer, model.get_weights()

        changed, received = weights_after(
            [OnEpoch(lambda optimizer: setattr(optimizer, name, 0.5))]
        )
        _, unchanged = weights_after([])
        self.assertEqual(float(getattr(changed, name)), 0.5)
        self.assertFalse(np.allclose(received[0], unchanged[0]))

    def test_learning_rate_callbacks_of_keras_work(self):
        optimizer = legacy.RMSprop(0.01, sparse_updates="lazy")
        model = model_of("dense", optimizer)
        scheduler = keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr / 2)
        plateau = keras.callbacks.ReduceLROnPlateau("loss", 0.1, 0, min_delta=1e9)
        fit(model, epochs=2, callbacks=[scheduler])
        self.assertAlmostEqual(float(optimizer.learning_rate), 0.0025, places=6)
        fit(model, epochs=2, callbacks=[plateau])
        self.assertLess(float(optimizer.learning_rate), 0.0025)

    def test_a_schedule_drives_a_compiled_fit(self):
        schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.0])
        model = model_of("dense", legacy.RMSprop(schedule))
        fit(model, epochs=3)
        before = model.get_weights()
        fit(model, epochs=2)
        for a, b in zip(before, model.get_weights()):
            np.testing.assert_array_equal(a, b)

    def test_constraints_of_keras_layers_apply_to_dense_and_sparse_variables(self):
        keras.utils.set_random_seed(3)
        model = keras.Sequential(
            [
                keras.layers.Input((4,), dtype="int32"),
                keras.layers.Embedding(12, 5, embeddings_constraint="non_neg"),
                keras.layers.Flatten(),
                keras.layers.Dense(1, kernel_constraint="non_neg"),
            ]
        )
        optimizer = legacy.RMSprop(0.1, sparse_updates="lazy")
        model.compile(optimizer, loss="mse")
        fit(model)
        for weight in model.get_weights()[:2]:
            self.assertGreaterEqual(weight.min(), 0.0)

    @pytest.mark.filterwarnings("ignore:Without momentum")
    def test_rows_outside_the_batch_keep_values_and_accumulators(self):
        optimizer = legacy.RMSprop(0.1)
        table = tf.Variable(tf.ones([4, 2]))
        for index in (0, 1):
            slices = tf.IndexedSlices(
                tf.ones([1, 2]), tf.constant([index]), tf.constant([4, 2])
            )
            optimizer.apply_gradients([(slices, table)])
        rms = optimizer.get_slot(table, "rms").numpy()
        np.testing.assert_array_equal(rms[0], rms[1])
        np.testing.assert_array_equal(rms[2:], 0.0)
        np.testing.assert_array_equal(table.numpy()[2:], 1.0)

    def test_state_trees_of_keras_hold_the_optimizer(self):
        model = model_of("dense", legacy.RMSprop(0.01, momentum=0.9))
        fit(model)
        tree = model.get_state_tree(value_format="numpy_array")
        leaves = keras.tree.flatten(tree["optimizer_variables"])
        self.assertLen(leaves, len(model.optimizer.variables))

    def test_gradients_aggregated_by_hand_are_not_summed_again(self):
        strategy = two_cpus()
        with strategy.scope():
            var = tf.Variable([1.0, 2.0])
            optimizer = legacy.RMSprop(0.1, momentum=0.5)

        @tf.function
        def step(aggregate):
            def replica():
                optimizer.apply_gradients(
                    [(tf.constant([0.5, 0.5]), var)],
                    experimental_aggregate_gradients=aggregate,
                )

            strategy.run(replica)

        step(False)
        with strategy.scope():
            rms = optimizer.get_slot(var, "rms")
        np.testing.assert_allclose(rms.numpy(), 0.1 * 0.25, rtol=1e-6)
        with strategy.scope(), self.assertRaisesRegex(RuntimeError, "cross-replica"):
            optimizer.apply_gradients([(tf.ones([2]), var)])
