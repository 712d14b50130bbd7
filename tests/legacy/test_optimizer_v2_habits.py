"""What programs and optimizers written for OptimizerV2 rely on, beyond the steps."""

import os
import tempfile
import warnings

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from absl.testing import parameterized

from compat_v1.keras import optimizer_v1
from compat_v1.train import RMSPropOptimizer
from keras_rmsprop import legacy

Schedule = keras.optimizers.schedules.ExponentialDecay


def slices(rows=4):
    return tf.IndexedSlices(tf.ones((1, 2)), tf.constant([1]), tf.constant([rows, 2]))


def scaled(base, **hypers):
    """Returns an optimizer of a base class that has some hyperparameters."""

    class Scaled(base):
        def __init__(self, name="Scaled", **kwargs):
            super().__init__(name, **kwargs)
            for key, value in hypers.items():
                self._set_hyper(key, value)

        def _resource_apply_dense(self, grad, var):
            return var.assign_sub(grad * self._get_hyper("rate", var.dtype))

        def _resource_apply_sparse(self, grad, var, indices):
            rate = self._get_hyper("rate", var.dtype)
            return self._resource_scatter_add(var, indices, -rate * grad)

        def get_config(self):
            config = {key: self._serialize_hyperparameter(key) for key in hypers}
            return {**super().get_config(), **config}

    return Scaled()


class NegativeRatesTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("legacy", legacy.RMSprop),
        ("of_2017", optimizer_v1.RMSprop),
        ("tf1", RMSPropOptimizer),
    )
    def test_every_face_ascends_with_numbers_tensors_and_schedules(self, cls):
        rates = [-0.1, tf.constant(-0.1), lambda: -0.1]
        if cls is legacy.RMSprop:
            rates.append(Schedule(-0.1, 10, 1.0))
        for rate in rates:
            variable = tf.Variable([1.0])
            cls(rate).apply_gradients([(tf.constant([1.0]), variable)])
            self.assertGreater(float(variable[0]), 1.0)


class UnknownShapesTest(parameterized.TestCase):
    def _variable(self):
        return tf.Variable(tf.ones((4, 2)), shape=[None, 2])

    def test_an_optimizer_without_slots_takes_sparse_gradients(self):
        variable = self._variable()
        optimizer = scaled(legacy.Optimizer, rate=0.5)
        optimizer.apply_gradients([(slices(), variable)])
        np.testing.assert_array_equal(variable[:, 0], [1.0, 0.5, 1.0, 1.0])

    def test_slots_say_that_they_need_a_known_shape(self):
        variable = self._variable()
        for gradient in (tf.ones((4, 2)), slices()):
            with self.assertRaisesRegex(ValueError, r"'rms' needs .*\(None, 2\)"):
                legacy.RMSprop().apply_gradients([(gradient, variable)])
        np.testing.assert_array_equal(variable, np.ones((4, 2)))


class LazyByDefaultTest(parameterized.TestCase):
    def _warnings(self, optimizer, gradient=None, steps=2):
        gradient = slices() if gradient is None else gradient
        variable = tf.Variable(tf.ones((4, 2)))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(steps):
                optimizer.apply_gradients([(gradient, variable)])
        return [str(each.message) for each in caught]

    def test_the_first_sparse_step_without_momentum_names_both_choices_once(self):
        [message] = self._warnings(legacy.RMSprop())
        self.assertIn('sparse_updates="dense"', message)
        self.assertIn('sparse_updates="lazy"', message)

    @parameterized.parameters(
        {"sparse_updates": "lazy"}, {"sparse_updates": "dense"}, {"momentum": 0.9}
    )
    def test_who_chose_or_has_what_shipped_is_not_warned(self, **arguments):
        optimizer = legacy.RMSprop(**arguments)
        self.assertEmpty(self._warnings(optimizer))
        self.assertEmpty(
            self._warnings(legacy.RMSprop.from_config(optimizer.get_config()))
        )

    def test_dense_steps_and_the_class_of_2017_do_not_warn(self):
        self.assertEmpty(self._warnings(optimizer_v1.RMSprop()))
        self.assertEmpty(self._warnings(legacy.RMSprop(), tf.ones((4, 2))))

    def test_a_config_makes_no_choice_of_the_default(self):
        optimizer = legacy.RMSprop()
        self._warnings(optimizer)
        self.assertNotIn("sparse_updates", optimizer.get_config())
        twin = legacy.RMSprop.from_config(optimizer.get_config())
        self.assertLen(self._warnings(twin), 1)
        optimizer.sparse_updates = "lazy"
        self.assertEqual(optimizer.get_config()["sparse_updates"], "lazy")


class CreatorScopesTest(parameterized.TestCase):
    @parameterized.parameters("template", "creator_scope")
    def test_slots_that_are_restored_within_are_not_caught(self, scope):
        def in_template(name):
            return tf.compat.v1.make_template(
                name, lambda: tf.compat.v1.get_variable("v", initializer=[1.0, 2.0])
            )

        class Holder(tf.Module):
            def __init__(self):
                self.held = []

            def __call__(self):
                def keep(next_creator, **kwargs):
                    self.held.append(next_creator(**kwargs))
                    return self.held[-1]

                if not self.held:
                    with tf.variable_creator_scope(keep):
                        tf.Variable([1.0, 2.0])
                return self.held[0]

        self.addCleanup(tf.compat.v1.reset_default_graph)  # It holds `get_variable`'s.
        make = in_template if scope == "template" else lambda name: Holder()
        folder = self.enter_context(tempfile.TemporaryDirectory())
        source, model = legacy.RMSprop(0.1, momentum=0.9), make("a")
        source.apply_gradients([(tf.ones(2), model())])
        checkpoint = tf.train.Checkpoint(optimizer=source, model=model)
        path = checkpoint.save(os.path.join(folder, "first"))
        target, other = legacy.RMSprop(0.1, momentum=0.9), make("b")
        checkpoint = tf.train.Checkpoint(optimizer=target, model=other)
        checkpoint.restore(path)
        variable = other()
        target.build([variable])
        for got, expected in zip(
            target.get_weights(), source.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(got, expected)
        checkpoint.save(os.path.join(folder, "second"))


class HyperparametersTest(parameterized.TestCase):
    @parameterized.parameters(True, 6, 0.5, np.float64(0.5))
    def test_types_are_those_of_optimizer_v2(self, value):
        ours = scaled(legacy.Optimizer, rate=0.5, value=value)
        theirs = scaled(tf_keras.optimizers.legacy.Optimizer, rate=0.5, value=value)
        self.assertEqual(ours.get_config(), theirs.get_config())
        self.assertEqual(ours.value.dtype, theirs.value.dtype)
        self.assertIs(
            type(ours.get_config()["value"]), np.array(value).item().__class__
        )

    def test_an_integer_that_becomes_a_fraction_is_not_cut(self):
        optimizer = scaled(legacy.Optimizer, rate=1)
        variable = tf.Variable([1.0])
        optimizer.apply_gradients([(tf.constant([0.5]), variable)])
        optimizer.rate = 0.5
        optimizer.apply_gradients([(tf.constant([0.5]), variable)])
        self.assertEqual(float(variable[0]), 0.25)
        self.assertEqual(float(legacy.RMSprop(1).learning_rate), 1.0)

    def test_a_config_in_a_tf1_graph_needs_no_session(self):
        with tf.Graph().as_default():
            optimizer = legacy.RMSprop(0.25, momentum=0.5)
            variable = tf.Variable([1.0])
            step = optimizer.get_updates(tf.reduce_sum(variable**2), [variable])
            config = optimizer.get_config()
            self.assertEqual((config["learning_rate"], config["momentum"]), (0.25, 0.5))
            with tf.compat.v1.Session() as session:
                self.assertEqual(optimizer.get_config(), config)
                session.run(tf.compat.v1.global_variables_initializer())
                session.run(step)
                optimizer.learning_rate = 0.5
                self.assertEqual(optimizer.get_config()["learning_rate"], 0.5)
            self.assertEqual(optimizer.get_config()["learning_rate"], 0.5)


class SchedulesTest(parameterized.TestCase):
    def test_a_schedule_stays_one_and_converts_to_its_present_value(self):
        schedule = Schedule(0.5, 10, 0.5)
        optimizer = legacy.RMSprop(schedule)
        optimizer.iterations = 10
        for rate in (optimizer.learning_rate, optimizer.lr):
            self.assertIsInstance(rate, Schedule)
            self.assertEqual(rate, schedule)
            self.assertEqual(rate.get_config(), schedule.get_config())
            self.assertEqual(float(rate(20)), 0.125)
            self.assertEqual(float(rate), 0.25)
            self.assertEqual(np.array(rate), 0.25)
            self.assertEqual(float(keras.ops.convert_to_numpy(rate)), 0.25)
            self.assertEqual(float(tf.convert_to_tensor(rate)), 0.25)
        self.assertEqual(
            keras.optimizers.schedules.serialize(optimizer.learning_rate),
            keras.optimizers.schedules.serialize(schedule),
        )
        twin = legacy.RMSprop(optimizer.learning_rate)
        self.assertIs(twin._hyper["learning_rate"], schedule)

    def test_callbacks_of_keras_read_it(self):
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        model.compile(legacy.RMSprop(Schedule(0.5, 1, 0.5)), loss="mse")
        history = model.fit(
            np.ones((2, 2)),
            np.ones((2, 1)),
            epochs=2,
            verbose=0,
            callbacks=[keras.callbacks.ReduceLROnPlateau("loss", patience=5)],
        )
        # What `TensorBoard` does to write it down.
        board = keras.callbacks.TensorBoard(tempfile.mkdtemp())
        board.set_model(model)
        self.assertEqual(board._collect_learning_rate({})["learning_rate"], 0.125)
        self.assertEqual(history.history["learning_rate"], [0.25, 0.125])


class SubclassesTest(parameterized.TestCase):
    def test_nothing_is_missing_that_tf_keras_has(self):
        shipped = set(dir(tf_keras.optimizers.legacy.Optimizer("base")))
        ours = set(dir(legacy.Optimizer("base")))
        mine = {name for name in shipped - ours if "clip" not in name}
        self.assertEmpty(mine - {"_keras_api_names", "_keras_api_names_v1"})

    def test_wrappers_read_the_arguments_of_what_they_wrap(self):
        optimizer = legacy.RMSprop()
        self.assertIn("apply_state", optimizer._dense_apply_args)
        self.assertIn("apply_state", optimizer._sparse_apply_args)
        old = scaled(legacy.Optimizer, rate=0.5)
        self.assertEqual(old._dense_apply_args, ["self", "grad", "var"])

    @parameterized.parameters(False, True)
    def test_an_overridden_distributed_apply_is_called(self, compiled):
        calls = []

        class Mine(legacy.RMSprop):
            def _distributed_apply(
                self, distribution, grads_and_vars, apply_state, name
            ):
                calls.append(len(grads_and_vars))
                return super()._distributed_apply(
                    distribution, grads_and_vars, apply_state, name
                )

        optimizer, variable = Mine(0.1), tf.Variable([1.0])

        def step():
            optimizer.apply_gradients([(tf.constant([1.0]), variable)])

        (tf.function(step) if compiled else step)()
        self.assertEqual(set(calls), {1})
        self.assertLess(float(variable[0]), 1.0)
        self.assertEqual(int(optimizer.iterations), 1)

    def test_hooks_of_subclasses_are_called(self):
        calls = []

        class Mine(legacy.RMSprop):
            def _init_set_name(self, name, zero_based=True):
                super()._init_set_name("mine", zero_based)

            def _restore_slot_variable(self, slot_name, variable, slot_variable):
                calls.append(slot_name)
                super()._restore_slot_variable(slot_name, variable, slot_variable)

            def _create_slots_for_sharded_variables(self, var_list):
                calls.append(len(var_list))

        optimizer = Mine(momentum=0.5)
        optimizer.build([tf.Variable([1.0])])
        self.assertEqual(calls, ["rms", "momentum", 1])
        self.assertEqual(optimizer.name, "mine")
        self.assertTrue(Mine._HAS_AGGREGATE_GRAD)
        self.assertFalse(legacy.Optimizer._HAS_AGGREGATE_GRAD)

    def test_the_calls_that_restore_state_by_hand_still_work(self):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        variables = model.trainable_variables
        source, target = legacy.RMSprop(0.1), legacy.RMSprop(0.1)
        source.apply_gradients(
            [(tf.ones(v.shape), v) for v in variables],
            experimental_aggregate_gradients=False,
        )
        target._create_all_weights(variables)
        target.set_weights([weight.numpy() for weight in source.variables()])
        for got, expected in zip(
            target.get_weights(), source.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(got, expected)
