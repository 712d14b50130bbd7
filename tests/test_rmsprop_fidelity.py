"""`keras_rmsprop.RMSprop` against the optimizers that ship."""

import os
import tempfile

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from absl.testing import parameterized
from faces import ARGUMENTS, combinations, slices, table

import keras_rmsprop

STEPS = 200
CLIPPING = {
    "unclipped": {},
    "clipnorm": {"clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.3},
    "global_clipnorm": {"global_clipnorm": 0.5},
}


def shipped_tf1(learning_rate, rho=0.9, **arguments):
    return tf.compat.v1.train.RMSPropOptimizer(learning_rate, decay=rho, **arguments)


SHIPPED = {
    "tf1": shipped_tf1,
    "legacy": tf_keras.optimizers.legacy.RMSprop,
    "keras2": tf_keras.optimizers.RMSprop,
}


def run(optimizer, gradients, dtype="float32", indices=None, graph=True):
    """Returns two variables after a step for each of the gradients."""
    variables = [table(9, 8, dtype), table(9, 5, dtype, seed=1)]
    sparse = indices is not None

    def step(gradient, index):
        grads = [tf.cast(gradient, dtype), tf.cast(gradient[:, :5], dtype)]
        if sparse:
            grads = [slices(g[: index.shape[0]], index, 9) for g in grads]
        optimizer.apply_gradients(list(zip(grads, variables)))

    step = tf.function(step) if graph else step
    if not sparse:
        indices = np.zeros((len(gradients), 1), "int64")
    for gradient, index in zip(gradients, indices):
        step(tf.constant(gradient), tf.constant(index))
    return [tf.cast(variable, "float64").numpy() for variable in variables]


def gradients(steps=STEPS, seed=2):
    return np.random.default_rng(seed).normal(size=(steps, 9, 8)).astype("float32")


def distinct_indices(steps=STEPS, seed=3):
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(9)[:4] for _ in range(steps)])


def assert_within_target(actual, expected):
    """1e-6 relative or 1e-6 absolute, whichever allows more."""
    for a, e in zip(actual, expected):
        allowed = np.maximum(1e-6, 1e-6 * np.abs(e))
        assert np.all(np.abs(a - e) <= allowed), np.max(np.abs(a - e))


class StockKerasTest(parameterized.TestCase):
    @parameterized.named_parameters(
        *combinations(
            arguments=ARGUMENTS,
            clipping=CLIPPING,
            dtype={"float32": "float32", "float64": "float64"},
        )
    )
    def test_dense_steps_follow_stock_keras(self, arguments, clipping, dtype):
        config = dict(learning_rate=0.01, epsilon=1e-5, **arguments, **clipping)
        assert_within_target(
            run(keras_rmsprop.RMSprop(**config), gradients(), dtype),
            run(keras.optimizers.RMSprop(**config), gradients(), dtype),
        )

    @parameterized.named_parameters(*combinations(arguments=ARGUMENTS))
    def test_defaults_in_eager_follow_stock_keras(self, arguments):
        assert_within_target(
            run(keras_rmsprop.RMSprop(**arguments), gradients(), graph=False),
            run(keras.optimizers.RMSprop(**arguments), gradients(), graph=False),
        )

    @parameterized.named_parameters(
        *combinations(
            arguments=ARGUMENTS,
            dtype={"float16": "float16", "bfloat16": "bfloat16"},
        )
    )
    def test_half_precision_gives_the_bits_of_stock_keras(self, arguments, dtype):
        config = dict(learning_rate=0.01, epsilon=1e-3, **arguments)
        ours = run(keras_rmsprop.RMSprop(**config), gradients(), dtype, graph=False)
        stock = run(keras.optimizers.RMSprop(**config), gradients(), dtype, graph=False)
        for a, b in zip(ours, stock):
            np.testing.assert_array_equal(a, b)

    @parameterized.named_parameters(*combinations(arguments=ARGUMENTS))
    def test_dense_treatment_of_slices_follows_stock_keras(self, arguments):
        config = dict(learning_rate=0.01, epsilon=1e-5, **arguments)
        ours = keras_rmsprop.RMSprop(**config, sparse_updates="dense")
        stock = keras.optimizers.RMSprop(**config)
        assert_within_target(
            run(ours, gradients(), indices=distinct_indices()),
            run(stock, gradients(), indices=distinct_indices()),
        )

    def test_duplicates_are_where_stock_keras_differs(self):
        step = slices([[1.0, 2.0], [3.0, 4.0]], [1, 1], rows=2)
        results = {}
        for cls in (keras_rmsprop.RMSprop, keras.optimizers.RMSprop):
            variable, optimizer = tf.Variable(tf.ones((2, 2))), cls(0.1)
            for _ in range(2):
                optimizer.apply_gradients([(step, variable)])
            results[cls] = variable.numpy()[1]
        stock, ours = results[keras.optimizers.RMSprop], results[keras_rmsprop.RMSprop]
        np.testing.assert_allclose(stock, [0.3098, 0.2679], atol=1e-4)
        np.testing.assert_allclose(ours, [0.4544, 0.4544], atol=1e-4)


class GenerationsTest(parameterized.TestCase):
    @parameterized.named_parameters(
        *combinations(
            rule={rule: rule for rule in SHIPPED},
            arguments=ARGUMENTS,
            dtype={d: d for d in ("float16", "float32", "float64")},
            graph={"eager": False, "graph": True},
        )
    )
    def test_dense_steps_give_the_shipped_bits(self, rule, arguments, dtype, graph):
        config = dict(learning_rate=0.01, rho=0.85, epsilon=1e-3, **arguments)
        ours = keras_rmsprop.RMSprop(update_rule=rule, **config)
        # The loop that traces one step is the same program 200 times over.
        steps = STEPS if graph else 30
        self.assert_same_bits(
            run(ours, gradients(steps), dtype, graph=graph),
            run(SHIPPED[rule](**config), gradients(steps), dtype, graph=graph),
        )

    @parameterized.named_parameters(
        *combinations(
            rule={rule: rule for rule in SHIPPED},
            arguments=ARGUMENTS,
            dtype={d: d for d in ("float16", "float32", "float64")},
            duplicates={"distinct": False, "duplicates": True},
        )
    )
    def test_sparse_steps_give_the_shipped_bits(
        self, rule, arguments, dtype, duplicates
    ):
        config = dict(learning_rate=0.01, rho=0.85, epsilon=1e-3, **arguments)
        ours = keras_rmsprop.RMSprop(update_rule=rule, **config)
        ours.sparse_updates = ours.update_rule.shipped_sparse(ours.momentum)
        indices = distinct_indices()
        if duplicates:
            indices[:, 1] = indices[:, 0]
        self.assert_same_bits(
            run(ours, gradients(), dtype, indices),
            run(SHIPPED[rule](**config), gradients(), dtype, indices),
        )

    @parameterized.named_parameters(
        *combinations(
            rule={"legacy": "legacy", "keras2": "keras2"},
            clipping=CLIPPING,
            dtype={d: d for d in ("float16", "float32", "float64")},
            gradients_of={"dense": "dense", "slices": "slices"},
        )
    )
    def test_clipped_steps_give_the_shipped_bits(
        self, rule, clipping, dtype, gradients_of
    ):
        config = dict(learning_rate=0.01, epsilon=1e-3, momentum=0.9, **clipping)
        ours = keras_rmsprop.RMSprop(update_rule=rule, **config)
        ours.sparse_updates = ours.update_rule.shipped_sparse(ours.momentum)
        indices = None
        if gradients_of == "slices":
            # The shipped ones clip each slice before they sum duplicates.
            indices = distinct_indices()
            indices[:, 1] = indices[:, 0]
        self.assert_same_bits(
            run(ours, gradients(), dtype, indices),
            run(SHIPPED[rule](**config), gradients(), dtype, indices),
        )

    @parameterized.named_parameters(
        *combinations(
            arguments={
                "weight_decay": {"weight_decay": 0.01},
                "average": {"use_ema": True, "ema_momentum": 0.9},
                "overwriting_average": {
                    "use_ema": True,
                    "ema_momentum": 0.9,
                    "ema_overwrite_frequency": 7,
                },
            },
            gradients_of={"dense": "dense", "slices": "slices"},
        )
    )
    def test_keras_2_decays_and_averages_to_the_bit(self, arguments, gradients_of):
        config = dict(learning_rate=0.01, momentum=0.9, centered=True, **arguments)
        config.setdefault("ema_overwrite_frequency", None)
        indices = distinct_indices() if gradients_of == "slices" else None
        ours = keras_rmsprop.RMSprop(
            update_rule="keras2", sparse_updates="dense", **config
        )
        shipped = tf_keras.optimizers.RMSprop(**config)
        trained, expected = [
            [*run(each, gradients(), indices=indices), *self.averages(each)]
            for each in (ours, shipped)
        ]
        self.assertLen(trained, 4 if config.get("use_ema") else 2)
        self.assert_same_bits(trained, expected)

    def test_keras_2_averages_only_what_has_a_gradient(self):
        config = dict(use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2)
        results = []
        for cls, more in (
            (tf_keras.optimizers.RMSprop, {}),
            (
                keras_rmsprop.RMSprop,
                {"update_rule": "keras2", "sparse_updates": "dense"},
            ),
        ):
            optimizer = cls(0.1, **config, **more)
            variables = [table(9, 8), table(9, 5, seed=1)]
            optimizer.build(variables)
            for step in range(5):
                grads = [tf.ones_like(v) * (step + 1.0) for v in variables]
                grads[step % 2] = None
                optimizer.apply_gradients(list(zip(grads, variables)))
            optimizer.finalize_variable_values(variables)
            results.append([v.numpy() for v in variables])
        self.assert_same_bits(*results)

    @parameterized.named_parameters(
        *combinations(
            arguments=ARGUMENTS,
            gradients_of={"dense": "dense", "slices": "slices"},
            graph={"eager": False, "graph": True},
        )
    )
    def test_keras_2_takes_a_schedule_to_the_bit(self, arguments, gradients_of, graph):
        indices = distinct_indices(50) if gradients_of == "slices" else None

        def trained(cls, schedules, **more):
            rate = schedules.ExponentialDecay(0.01, 7, 0.9)
            optimizer = cls(rate, **arguments, **more)
            return run(optimizer, gradients(50), indices=indices, graph=graph)

        self.assert_same_bits(
            trained(
                keras_rmsprop.RMSprop,
                keras.optimizers.schedules,
                update_rule="keras2",
                sparse_updates="dense",
            ),
            trained(tf_keras.optimizers.RMSprop, tf_keras.optimizers.schedules),
        )

    def averages(self, optimizer):
        if not optimizer.use_ema:
            return []
        return [v.numpy() for v in optimizer._model_variables_moving_average]

    def assert_same_bits(self, ours, shipped):
        for a, b in zip(ours, shipped):
            np.testing.assert_array_equal(a, b)


class StateTest(parameterized.TestCase):
    def trained(self, cls, arguments, seed=0):
        keras.utils.set_random_seed(seed)
        model = keras.Sequential(
            [
                keras.Input((6,)),
                keras.layers.Dense(4, name="hidden"),
                keras.layers.Dense(1, name="out"),
            ],
            name="model",
        )
        model.compile(cls(learning_rate=0.01, name="opt", **arguments), "mse")
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(32, 6)), rng.normal(size=(32, 1))
        model.fit(x, y, batch_size=8, epochs=2, verbose=0)
        return model, x, y

    @parameterized.named_parameters(*combinations(arguments=ARGUMENTS))
    def test_variables_have_keras_names_order_and_paths(self, arguments):
        ours, *_ = self.trained(keras_rmsprop.RMSprop, arguments)
        stock, *_ = self.trained(keras.optimizers.RMSprop, arguments)
        self.assertEqual(
            *(
                [(v.name, v.path, tuple(v.shape)) for v in model.optimizer.variables]
                for model in (ours, stock)
            )
        )

    @parameterized.named_parameters(
        *combinations(
            arguments=ARGUMENTS,
            direction={
                "from_stock": (keras.optimizers.RMSprop, keras_rmsprop.RMSprop),
                "to_stock": (keras_rmsprop.RMSprop, keras.optimizers.RMSprop),
            },
            medium={"weights_h5": "h5", "checkpoint": "ckpt"},
        )
    )
    def test_training_goes_on_from_the_others_file(self, arguments, direction, medium):
        source, target = direction
        written, x, y = self.trained(source, arguments)
        read, *_ = self.trained(target, arguments, seed=5)
        path = os.path.join(tempfile.mkdtemp(), "state")
        if medium == "h5":
            written.save_weights(path + ".weights.h5")
            read.load_weights(path + ".weights.h5")
        else:
            source = tf.train.Checkpoint(model=written, optimizer=written.optimizer)
            target = tf.train.Checkpoint(model=read, optimizer=read.optimizer)
            target.restore(source.save(path)).assert_consumed()
        for a, b in zip(written.optimizer.variables, read.optimizer.variables):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
        for model in (written, read):
            model.fit(x, y, batch_size=8, epochs=2, verbose=0, shuffle=False)
        assert_within_target(
            [w.astype("float64") for w in read.get_weights()],
            [w.astype("float64") for w in written.get_weights()],
        )

    @parameterized.named_parameters(
        *combinations(
            rule={rule: rule for rule in ("keras", *SHIPPED)},
            arguments=ARGUMENTS,
        )
    )
    def test_a_saved_model_goes_on_to_the_bit(self, rule, arguments):
        arguments = {**arguments, "update_rule": rule, "sparse_updates": "dense"}
        model, x, y = self.trained(keras_rmsprop.RMSprop, arguments)
        path = os.path.join(tempfile.mkdtemp(), "model.keras")
        model.save(path)
        loaded = keras.models.load_model(path)
        self.assertIs(type(loaded.optimizer), keras_rmsprop.RMSprop)
        self.assertEqual(loaded.optimizer.get_config(), model.optimizer.get_config())
        for each in (model, loaded):
            each.fit(x, y, batch_size=8, epochs=2, verbose=0, shuffle=False)
        for a, b in zip(model.get_weights(), loaded.get_weights()):
            np.testing.assert_array_equal(a, b)
