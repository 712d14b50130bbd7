"""The OptimizerV2 surface of `legacy.RMSprop`, and what it refuses."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from keras_rmsprop import legacy

NAN = float("nan")


def quadratic(value=10.0):
    variable = tf.Variable(value)
    return variable, lambda: variable**2 / 2.0


class StepTest(parameterized.TestCase):
    def test_the_documented_example(self):
        variable, loss = quadratic()
        steps = legacy.RMSprop(learning_rate=0.1).minimize(loss, [variable]).numpy()
        self.assertEqual(steps, 1)
        self.assertEqual(f"{variable.numpy():.6f}", "9.683772")

    def test_minimize_takes_a_tensor_with_its_tape(self):
        variable, loss = quadratic()
        with tf.GradientTape() as tape:
            value = loss()
        optimizer = legacy.RMSprop(learning_rate=0.1)
        with self.assertRaisesRegex(ValueError, "`tape` is required"):
            optimizer.minimize(value, [variable])
        optimizer.minimize(value, [variable], tape=tape)
        self.assertEqual(f"{variable.numpy():.6f}", "9.683772")

    def test_minimize_takes_variables_that_the_loss_creates(self):
        layer = keras.layers.Dense(1)
        x = tf.ones([2, 3])
        legacy.RMSprop().minimize(
            lambda: tf.reduce_sum(layer(x) ** 2), lambda: layer.trainable_variables
        )
        self.assertTrue(layer.built)

    def test_minimize_scales_gradients_by_grad_loss(self):
        variable, loss = quadratic()
        optimizer = legacy.RMSprop(rho=0.0)
        optimizer.minimize(loss, [variable], grad_loss=tf.constant(3.0))
        self.assertEqual(float(optimizer.get_slot(variable, "rms")), 900.0)

    def test_minimize_works_in_a_graph(self):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            variable, loss = quadratic()
            step = legacy.RMSprop(learning_rate=0.1).minimize(loss, [variable])
            session.run(tf.compat.v1.global_variables_initializer())
            session.run(step)
            self.assertEqual(f"{session.run(variable):.6f}", "9.683772")

    def test_updates_and_gradients_work_in_a_graph(self):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            variable, loss = quadratic()
            optimizer = legacy.RMSprop(learning_rate=0.1)
            updates = optimizer.get_updates(loss(), [variable])
            (grad,) = optimizer.get_gradients(loss(), [variable])
            session.run(tf.compat.v1.global_variables_initializer())
            self.assertEqual(session.run(grad), 10.0)
            session.run(updates)
            self.assertEqual(f"{session.run(variable):.6f}", "9.683772")
            optimizer.learning_rate = 0.0
            session.run(updates)
            self.assertEqual(f"{session.run(variable):.6f}", "9.683772")
            count, rms = optimizer.get_weights()
            self.assertEqual(count, 2)
            optimizer.set_weights([np.array(7), rms])
            self.assertEqual(session.run(optimizer.iterations), 7)

    def test_keras_variables_and_tf_variables_are_the_same(self):
        optimizer = legacy.RMSprop(learning_rate=0.1)
        variable = keras.Variable(10.0)
        optimizer.apply([tf.constant(10.0)], [variable])
        self.assertEqual(f"{float(variable):.6f}", "9.683772")
        self.assertIs(
            optimizer.get_slot(variable, "rms"),
            optimizer.get_slot(variable.value, "rms"),
        )

    @parameterized.parameters(
        lambda value: tf.constant(value),
        lambda value: tf.Variable(value),
        lambda value: lambda: value,
        lambda value: lambda: tf.constant(value),
    )
    def test_hyperparameters_are_tensors_variables_or_callables(self, wrap):
        variable, loss = quadratic()
        legacy.RMSprop(
            wrap(0.1), rho=wrap(0.9), momentum=wrap(0.5), epsilon=wrap(1e-7)
        ).minimize(loss, [variable])
        self.assertEqual(f"{variable.numpy():.5f}", "9.68377")

    def test_a_callable_decay_divides_the_learning_rate(self):
        optimizer = legacy.RMSprop(0.5, decay=lambda: 0.25)
        optimizer.iterations = 4
        self.assertEqual(float(optimizer._decayed_lr(tf.float32)), 0.25)

    def test_decay_stays_finite_beyond_the_range_of_float16(self):
        optimizer = legacy.RMSprop(0.5)
        optimizer.iterations = 100_000
        self.assertEqual(float(optimizer._decayed_lr(tf.float16)), 0.5)

    def test_tf_constraints_apply(self):
        variable = tf.Variable(1.0, constraint=lambda w: tf.maximum(w, 0.9))
        legacy.RMSprop(1.0).minimize(lambda: variable * 2.0, [variable])
        self.assertAlmostEqual(float(variable), 0.9, places=6)


class AttributesTest(parameterized.TestCase):
    def test_it_is_an_optimizer_of_keras_3(self):
        optimizer = legacy.RMSprop()
        self.assertIsInstance(optimizer, keras.optimizers.Optimizer)
        self.assertIs(keras.optimizers.get(optimizer), optimizer)

    def test_variables_are_a_list_that_can_be_called(self):
        optimizer = legacy.RMSprop(momentum=0.9)
        variable = tf.Variable([1.0, 2.0])
        optimizer.build([variable])
        self.assertIsInstance(optimizer.variables, list)
        self.assertEqual(
            [v.name for v in optimizer.variables()],
            [v.name for v in optimizer.variables],
        )
        self.assertIs(optimizer.variables()[0], optimizer.iterations)
        self.assertEqual(optimizer.get_slot_names(), ["rms", "momentum"])
        self.assertIs(optimizer.weights[2], optimizer.get_slot(variable, "momentum"))
        with self.assertRaises(KeyError):
            optimizer.get_slot(variable, "mg")

    def test_slots_come_in_the_order_of_optimizer_v2(self):
        a, b = tf.Variable([1.0], name="a"), tf.Variable([1.0], name="b")
        optimizer = legacy.RMSprop(momentum=0.9, centered=True)
        optimizer.build([a, b])
        names = [w.name.partition("/")[2] for w in optimizer.weights]
        self.assertEqual(
            names[1:],
            ["a/rms:0", "b/rms:0", "a/momentum:0", "b/momentum:0", "a/mg:0", "b/mg:0"],
        )

    def test_hyperparameters_are_attributes(self):
        optimizer = legacy.RMSprop(0.5, rho=0.25, momentum=0.125, decay=0.0625)
        for name in ("learning_rate", "lr", "rho", "momentum", "decay"):
            self.assertIn(name, dir(optimizer))
            setattr(optimizer, name, 0.75)
            self.assertEqual(float(getattr(optimizer, name)), 0.75)
        optimizer.lr.assign(0.5)
        self.assertEqual(float(optimizer.learning_rate), 0.5)
        self.assertEqual(float(optimizer._get_hyper("learning_rate", tf.float64)), 0.5)
        with self.assertRaisesRegex(AttributeError, "no attribute 'nothing'"):
            optimizer.nothing  # noqa: B018

    def test_the_step_count_is_settable(self):
        optimizer = legacy.RMSprop()
        optimizer.iterations = 5
        self.assertEqual(int(optimizer.iterations), 5)
        count = tf.Variable(3, dtype=tf.int64)
        with self.assertRaisesRegex(RuntimeError, "once it exists"):
            optimizer.iterations = count
        optimizer = legacy.RMSprop()
        optimizer.iterations = count
        self.assertIs(optimizer.iterations, count)

    def test_momentum_set_before_the_first_step_gets_its_slot(self):
        variable, loss = quadratic()
        optimizer = legacy.RMSprop(0.1)
        optimizer.momentum = 0.5
        optimizer.minimize(loss, [variable])
        self.assertEqual(optimizer.get_slot_names(), ["rms", "momentum"])

    def test_momentum_without_slots_is_refused(self):
        variable, loss = quadratic()
        optimizer = legacy.RMSprop(0.1)
        optimizer.minimize(loss, [variable])
        with self.assertRaisesRegex(ValueError, "no momentum slots"):
            optimizer.momentum = 0.5
        self.assertEqual(float(optimizer.momentum), 0.0)

    def test_a_schedule_that_a_compiled_function_holds_is_replaced_with_a_warning(self):
        variable, loss = quadratic()
        schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
        optimizer = legacy.RMSprop(schedule)
        self.assertEqual(optimizer.learning_rate, schedule)

        @tf.function
        def step():
            optimizer.minimize(loss, [variable])

        step()
        with self.assertWarnsRegex(UserWarning, "Compile again"):
            optimizer.learning_rate = 0.25
        self.assertEqual(float(optimizer.lr), 0.25)

    def test_lr_is_accepted_with_a_warning(self):
        with self.assertWarnsRegex(UserWarning, "former name"):
            self.assertEqual(float(legacy.RMSprop(lr=0.5).lr), 0.5)

    def test_epsilon_zero_means_the_default_of_keras(self):
        for epsilon in (0, 0.0, None):
            optimizer = legacy.RMSprop(epsilon=epsilon)
            self.assertEqual(optimizer.epsilon, keras.config.epsilon())


class RefusalTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("unknown", {"nesterov": True}, TypeError, "nesterov=True"),
        ("clipnorm", {"clipnorm": -1.0}, ValueError, "`clipnorm`.*>= 0.*-1.0"),
        ("clipvalue", {"clipvalue": -1.0}, ValueError, "`clipvalue`.*-1.0"),
        ("global", {"global_clipnorm": NAN}, ValueError, "`global_clipnorm`.*nan"),
        (
            "both_norms",
            {"clipnorm": 1.0, "global_clipnorm": 1.0},
            ValueError,
            "cannot both be set",
        ),
        (
            "clipping_and_transformers",
            {"clipnorm": 1.0, "gradient_transformers": [list]},
            ValueError,
            "gradient_transformers",
        ),
        ("infinite", {"learning_rate": np.inf}, ValueError, "learning_rate=inf"),
        ("nan", {"learning_rate": NAN}, ValueError, "learning_rate=nan"),
        ("text", {"learning_rate": "fast"}, ValueError, "learning_rate='fast'"),
        ("rho", {"rho": 1.5}, ValueError, r"`rho`.*\[0, 1\].*rho=1.5"),
        ("momentum", {"momentum": -0.1}, ValueError, r"`momentum`.*\[0, 1\].*-0.1"),
        ("momentum_2", {"momentum": 2.5}, ValueError, r"`momentum`.*\[0, 1\].*2.5"),
        ("epsilon", {"epsilon": -1e-7}, ValueError, "`epsilon`.*-1e-07"),
        ("decay", {"decay": -0.5}, ValueError, "`decay`.*-0.5"),
        ("sparse", {"sparse_updates": "eager"}, ValueError, "sparse_updates='eager'"),
    )
    def test_bad_arguments(self, arguments, error, message):
        with self.assertRaisesRegex(error, message):
            legacy.RMSprop(**arguments)

    @parameterized.parameters(
        ("learning_rate", NAN), ("lr", np.inf), ("rho", 1.5), ("momentum", 2.0),
        ("decay", -1.0), ("clipnorm", -1.0), ("iterations", -1),
    )  # fmt: skip
    def test_bad_settings_change_nothing(self, name, value):
        optimizer = legacy.RMSprop(momentum=0.5, clipnorm=1.0)
        before = optimizer.get_config(), int(optimizer.iterations)
        with self.assertRaises(ValueError):
            setattr(optimizer, name, value)
        self.assertEqual((optimizer.get_config(), int(optimizer.iterations)), before)

    @parameterized.named_parameters(
        ("shape", tf.ones([3, 2]), r"shape \(2, 3\).*\(3, 2\)"),
        ("dtype", tf.ones([2, 3], tf.int32), "floating.*int32"),
        (
            "index",
            tf.IndexedSlices(tf.ones([1, 3]), tf.constant([2])),
            r"\[0, 1\].*index of 2",
        ),
        (
            "row_shape",
            tf.IndexedSlices(tf.ones([1, 2]), tf.constant([1])),
            "shape of a row",
        ),
    )
    def test_bad_gradients_change_no_variable(self, gradient, message):
        first, second = tf.Variable(tf.ones([2, 3])), tf.Variable(tf.ones([2, 3]))
        optimizer = legacy.RMSprop(sparse_updates="lazy")
        with self.assertRaisesRegex(ValueError, message):
            optimizer.apply_gradients([(tf.ones([2, 3]), first), (gradient, second)])
        np.testing.assert_array_equal(first.numpy(), 1.0)
        self.assertEqual(int(optimizer.iterations), 0)

    def test_out_of_range_indices_fail_in_a_compiled_function(self):
        table = tf.Variable(tf.ones([2, 3]))
        optimizer = legacy.RMSprop(sparse_updates="lazy")
        optimizer.build([table])

        @tf.function
        def step(indices):
            slices = tf.IndexedSlices(tf.ones([1, 3]), indices)
            optimizer.apply_gradients([(slices, table)])

        with self.assertRaisesRegex(tf.errors.InvalidArgumentError, "must lie"):
            step(tf.constant([2]))
        np.testing.assert_array_equal(table.numpy(), 1.0)

    def test_updates_in_eager_mode(self):
        variable, loss = quadratic()
        with self.assertRaisesRegex(RuntimeError, "need a graph"):
            legacy.RMSprop().get_updates(loss(), [variable])

    def test_variables_without_gradients(self):
        used, unused = tf.Variable(1.0), tf.Variable(1.0, name="unused")
        optimizer = legacy.RMSprop()
        with self.assertRaisesRegex(ValueError, "No gradients provided"):
            optimizer.minimize(lambda: used * 1.0, [unused])
        with self.assertWarnsRegex(UserWarning, "unused"):
            optimizer.minimize(lambda: used * 1.0, [used, unused])

    def test_variables_that_are_no_numbers_to_train(self):
        optimizer = legacy.RMSprop()
        with self.assertRaisesRegex(ValueError, "int32"):
            optimizer.build([tf.Variable(1)])
        with self.assertRaisesRegex(NotImplementedError, "hold variables"):
            optimizer.apply_gradients([(tf.constant(1.0), tf.constant(1.0))])

    def test_gradients_without_their_variables(self):
        with self.assertRaisesRegex(ValueError, "until the optimizer is built"):
            legacy.RMSprop().apply([tf.constant(1.0)])
        with self.assertRaisesRegex(ValueError, "1 gradients for 2 variables"):
            legacy.RMSprop().apply(
                [tf.constant(1.0)], [tf.Variable(1.0), tf.Variable(1.0)]
            )
