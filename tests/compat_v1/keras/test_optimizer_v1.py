"""`optimizer_v1.RMSprop`: the 2017 class in TF1 graphs and in Keras 3."""

import os
import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from tf_keras.src.optimizers import optimizer_v1 as shipped

import compat_v1
from compat_v1.keras.optimizer_v1 import RMSprop
from keras_rmsprop import legacy

STEPS = 200
ARGUMENTS = {
    "defaults": {},
    "decay": {"decay": 0.01},
    "clipnorm": {"clipnorm": 0.5},
    "clipvalue": {"clipvalue": 0.1},
    "clipnorm_and_clipvalue": {"clipnorm": 0.5, "clipvalue": 0.1, "decay": 0.1},
    "rho": {"rho": 0.5, "epsilon": 1e-3, "lr": 0.1},
}


def _train(make, sparse=False, constraint=None, steps=STEPS):
    """Returns variables, optimizer weights and the step count after a session."""
    random = np.random.default_rng(5)
    start = random.normal(size=(17, 5)).astype("float32")
    data = random.normal(size=(steps, 17, 5)).astype("float32")
    indices = random.integers(0, 17, size=(steps, 6))
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variable = tf.Variable(start, constraint=constraint)
        x = tf.compat.v1.placeholder(tf.float32, [17, 5])
        i = tf.compat.v1.placeholder(tf.int64, [6])
        rows = tf.gather(variable, i) if sparse else variable
        loss = tf.reduce_sum((rows - (x[:6] if sparse else x)) ** 2)
        optimizer = make()
        updates = optimizer.get_updates(loss, [variable])
        session.run(tf.compat.v1.global_variables_initializer())
        for step in range(steps):
            # What shipped reads the step count while the first operation raises it;
            # unless that one runs last, results differ from run to run.
            session.run(updates[1:], {x: data[step], i: indices[step]})
            session.run(updates[0], {x: data[step], i: indices[step]})
        return session.run([variable, *optimizer.weights, optimizer.iterations])


def _graph_optimizer(**arguments):
    """Returns an optimizer with weights, its updates and its variable."""
    variable = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
    optimizer = RMSprop(**arguments)
    updates = optimizer.get_updates(tf.reduce_sum(variable**2), [variable])
    tf.compat.v1.get_default_session().run(tf.compat.v1.global_variables_initializer())
    return optimizer, updates, variable


class GraphTest(parameterized.TestCase):
    # What tf_keras clips is slices. TensorFlow 1.4 to 1.12 clipped their sum, as the
    # recordings in `tests/originals` show.
    @parameterized.parameters(
        *((arguments, False) for arguments in ARGUMENTS),
        *((arguments, True) for arguments in ("defaults", "decay", "rho")),
    )
    def test_steps_are_those_of_tf_keras(self, arguments, sparse):
        arguments = ARGUMENTS[arguments]
        ours = _train(lambda: RMSprop(**arguments), sparse)
        theirs = _train(
            lambda: shipped.RMSprop(**{"epsilon": 1e-8, **arguments}), sparse
        )
        self.assertEqual(ours[-1], STEPS)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_reference_variables_train_as_resource_variables(self):
        final = []
        for use_resource in (False, True):
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                variable = tf.compat.v1.get_variable(
                    "v", initializer=[1.0, 2.0], use_resource=use_resource
                )
                updates = RMSprop().get_updates(tf.reduce_sum(variable**2), [variable])
                session.run(tf.compat.v1.global_variables_initializer())
                for _ in range(3):
                    session.run(updates)
                final.append(session.run(variable))
        np.testing.assert_array_equal(*final)
        self.assertLess(final[0][0], 1.0)

    def test_hyperparameters_have_the_dtype_of_keras(self):
        keras.config.set_floatx("float64")
        self.addCleanup(keras.config.set_floatx, "float32")
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            variable = tf.Variable([1.0], dtype=tf.float64)
            optimizer = RMSprop(lr=0.1)
            optimizer.get_updates(tf.reduce_sum(variable**2), [variable])
            session.run(tf.compat.v1.global_variables_initializer())
            self.assertEqual(session.run(optimizer.lr), 0.1)

    def test_constraints_apply_after_each_step(self):
        def constraint(w):
            return tf.maximum(w, 0.0)

        ours = _train(RMSprop, constraint=constraint)
        theirs = _train(lambda: shipped.RMSprop(epsilon=1e-8), constraint=constraint)
        self.assertGreaterEqual(ours[0].min(), 0.0)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_gradients_are_clipped_by_norm_and_then_by_value(self):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            variable = tf.Variable([3.0, 4.0])
            optimizer = RMSprop(clipnorm=1.0, clipvalue=0.7)
            loss = tf.reduce_sum(variable**2) / 2
            (grad,) = optimizer.get_gradients(loss, [variable])
            session.run(tf.compat.v1.global_variables_initializer())
            np.testing.assert_allclose(session.run(grad), [0.6, 0.7])

    def test_the_learning_rate_can_be_changed_between_steps(self):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            optimizer, updates, variable = _graph_optimizer(lr=0.0)
            session.run(updates)
            np.testing.assert_array_equal(session.run(variable), [[1, 2], [3, 4]])
            optimizer.lr = 0.1
            session.run(updates)
            self.assertLess(session.run(variable)[0, 0], 1.0)
            self.assertAlmostEqual(session.run(optimizer.lr), 0.1, places=6)

    def test_weights_are_the_accumulators_and_move_to_another_optimizer(self):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            optimizer, updates, _ = _graph_optimizer()
            session.run(updates)
            weights = optimizer.get_weights()
        self.assertLen(weights, 1)
        expected = 0.1 * np.array([[4, 16], [36, 64]])
        np.testing.assert_allclose(weights[0], expected, rtol=1e-6)
        with tf.Graph().as_default(), tf.compat.v1.Session():
            other, _, _ = _graph_optimizer()
            other.set_weights(weights)
            np.testing.assert_array_equal(other.get_weights()[0], weights[0])

    @parameterized.named_parameters(
        ("too_few", [], "was given 0 arrays, but the optimizer was expecting 1"),
        ("too_many", [np.ones((2, 2))] * 2, "was given 2 arrays"),
        ("shape", [np.ones((2, 3))], r"shape \(2, 2\).*Received.*\(2, 3\)"),
    )
    def test_wrong_weights_are_refused_before_any_is_set(self, weights, message):
        with tf.Graph().as_default(), tf.compat.v1.Session():
            optimizer, _, _ = _graph_optimizer()
            with self.assertRaisesRegex(ValueError, message):
                optimizer.set_weights(weights)
            np.testing.assert_array_equal(optimizer.get_weights()[0], np.zeros((2, 2)))

    @parameterized.parameters("positional", "named")
    def test_updates_are_taken_as_keras_1_asked_for_them(self, how):
        results = []
        for old in (False, True):
            with tf.Graph().as_default(), tf.compat.v1.Session() as session:
                variable = tf.Variable([3.0, -2.0])
                loss = tf.reduce_sum(variable**2)
                optimizer = RMSprop(0.5)
                constraints = {variable.ref(): lambda w: tf.clip_by_norm(w, 1.0)}
                if not old:
                    step = optimizer.get_updates(loss, [variable])
                    with tf.control_dependencies(step):
                        step = [variable.assign(tf.clip_by_norm(variable, 1.0))]
                elif how == "named":
                    step = optimizer.get_updates(
                        params=[variable], constraints=constraints, loss=loss
                    )
                else:
                    step = optimizer.get_updates([variable], constraints, loss)
                session.run(tf.compat.v1.global_variables_initializer())
                for _ in range(3):
                    session.run(step)
                results.append(session.run(variable))
        np.testing.assert_array_equal(*results)

    def test_updates_without_constraints_and_asked_for_otherwise(self):
        with tf.Graph().as_default():
            variable = tf.Variable([1.0])
            loss = tf.reduce_sum(variable**2)
            optimizer = RMSprop()
            for none in ({}, [], None):
                self.assertLen(optimizer.get_updates([variable], none, loss), 1)
            for wrong in ([loss], [loss, [variable], {}, 1]):
                with self.assertRaisesRegex(TypeError, "loss, params"):
                    optimizer.get_updates(*wrong)

    def test_values_of_variables_are_no_weights(self):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            variable = tf.Variable([1.0])
            optimizer = RMSprop()
            optimizer.get_updates(tf.reduce_sum(variable**2), [variable])
            session.run(tf.compat.v1.global_variables_initializer())
            values = session.run(list(optimizer.variables))
            with self.assertRaisesRegex(ValueError, "without the step count"):
                optimizer.set_weights(values)

    def test_updates_in_eager_mode_are_refused(self):
        variable = tf.Variable(1.0)
        for method in (RMSprop().get_updates, RMSprop().get_gradients):
            with self.assertRaisesRegex(RuntimeError, "need a graph"):
                method(variable * 2.0, [variable])

    def test_a_loss_without_gradient_is_refused(self):
        with tf.Graph().as_default():
            used, unused = tf.Variable(1.0), tf.Variable(1.0, name="unused")
            with self.assertRaisesRegex(ValueError, "none for 'unused"):
                RMSprop().get_updates(used * 2.0, [used, unused])

    def test_values_without_a_session_are_refused(self):
        with tf.Graph().as_default():
            variable = tf.Variable(1.0)
            optimizer = RMSprop()
            optimizer.get_updates(variable * 2.0, [variable])
            with self.assertRaisesRegex(RuntimeError, "only in a session"):
                optimizer.get_weights()


class ArgumentsTest(parameterized.TestCase):
    def test_config_is_the_documented_one(self):
        config = RMSprop(lr=0.5, rho=0.5, decay=0.25, clipvalue=1.0).get_config()
        del config["name"]
        self.assertEqual(
            config,
            {"lr": 0.5, "rho": 0.5, "epsilon": 1e-8, "decay": 0.25, "clipvalue": 1.0},
        )

    def test_config_round_trips_and_reads_that_of_tf_keras(self):
        config = RMSprop(lr=0.5, clipnorm=2.0).get_config()
        self.assertEqual(RMSprop.from_config(config).get_config(), config)
        with tf.Graph().as_default(), tf.compat.v1.Session():
            theirs = shipped.RMSprop(lr=0.5, decay=0.25, epsilon=1e-3)
            theirs = theirs.get_config()
        self.assertEqual(
            {
                k: v
                for k, v in RMSprop.from_config(theirs).get_config().items()
                if k in theirs
            },
            {k: v if k != "rho" else float(v) for k, v in theirs.items()},
        )

    def test_epsilon_none_is_the_default_of_keras(self):
        self.assertEqual(RMSprop(epsilon=None).epsilon, keras.config.epsilon())
        self.assertEqual(RMSprop(epsilon=0.0).epsilon, 0.0)

    @parameterized.named_parameters(
        ("unknown", {"momentum": 0.9}, TypeError, "momentum=0.9"),
        ("global_clipnorm", {"global_clipnorm": 1.0}, TypeError, "global_clipnorm"),
        ("clipnorm", {"clipnorm": -1.0}, ValueError, "`clipnorm`.*>= 0.*-1.0"),
        ("clipvalue", {"clipvalue": -1.0}, ValueError, "`clipvalue`.*>= 0.*-1.0"),
        ("lr", {"lr": float("inf")}, ValueError, "learning_rate=inf"),
        ("nan", {"lr": float("nan")}, ValueError, "learning_rate=nan"),
        ("rho", {"rho": 1.5}, ValueError, r"`rho`.*\[0, 1\].*1.5"),
        ("decay", {"decay": -0.1}, ValueError, "`decay`.*-0.1"),
        ("epsilon", {"epsilon": -1e-8}, ValueError, "`epsilon`.*-1e-08"),
    )
    def test_bad_arguments_are_refused(self, arguments, error, message):
        with self.assertRaisesRegex(error, message):
            RMSprop(**arguments)

    def test_a_schedule_is_refused_by_the_name_of_its_argument(self):
        schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
        with self.assertRaisesRegex(ValueError, "`lr` must be a number"):
            RMSprop(lr=schedule)
        with self.assertRaisesRegex(ValueError, "`lr` must be a number"):
            RMSprop().lr = schedule


class KerasTest(parameterized.TestCase):
    def _model(self, optimizer):
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                keras.layers.Input((4,)),
                keras.layers.Dense(8, activation="relu", kernel_constraint="non_neg"),
                keras.layers.Dense(1),
            ]
        )
        model.compile(optimizer, loss="mse")
        return model

    def test_it_trains_a_keras_3_model_as_tf_keras_legacy_does(self):
        x = np.random.default_rng(1).normal(size=(32, 4)).astype("float32")
        y = x.sum(axis=1, keepdims=True)
        ours = self._model(RMSprop(lr=0.01))
        ours.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
        theirs = self._model(legacy.RMSprop(0.01, epsilon=1e-8))
        theirs.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
        for a, b in zip(ours.get_weights(), theirs.get_weights()):
            np.testing.assert_array_equal(a, b)
        self.assertEqual(int(ours.optimizer.iterations), 12)
        self.assertLen(ours.optimizer.get_weights(), 4)
        self.assertGreaterEqual(ours.layers[0].kernel.numpy().min(), 0.0)

    def test_a_saved_model_holds_this_class_and_its_state(self):
        x = np.ones((8, 4), "float32")
        model = self._model(RMSprop(lr=0.01, decay=0.1))
        model.fit(x, x[:, :1], verbose=0)
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "model.keras")
            model.save(path)
            loaded = keras.models.load_model(path)
        self.assertIs(type(loaded.optimizer), RMSprop)
        for a, b in zip(loaded.optimizer.variables, model.optimizer.variables):
            np.testing.assert_array_equal(a.numpy(), b.numpy())
        self.assertEqual(loaded.optimizer.get_config(), model.optimizer.get_config())


class NamesTest(parameterized.TestCase):
    def test_the_v1_names_are_the_legacy_class(self):
        self.assertIs(compat_v1.keras.optimizers.RMSprop, legacy.RMSprop)
        self.assertIs(compat_v1.keras.optimizers.legacy.RMSprop, legacy.RMSprop)
        self.assertIs(compat_v1.keras.optimizers.legacy.Optimizer, legacy.Optimizer)
        self.assertIs(compat_v1.keras.optimizer_v1.RMSprop, RMSprop)

    def test_weights_of_2017_load_into_the_legacy_class(self):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            optimizer, updates, _ = _graph_optimizer()
            session.run(updates)
            weights = optimizer.get_weights()
        ours = legacy.RMSprop()
        ours.build([tf.Variable(np.ones((2, 2), "float32"))])
        ours.iterations = 7
        ours.set_weights(weights)
        self.assertEqual(int(ours.iterations), 0)
        np.testing.assert_array_equal(ours.get_weights()[1], weights[0])
