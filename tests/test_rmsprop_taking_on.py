"""How `keras_rmsprop.RMSprop` takes variables on: whole, later, for several models."""

import itertools
import os
import re
import sys
import tempfile
import threading
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from absl.testing import parameterized
from faces import combinations, two_cpus

import keras_rmsprop

ALL_SLOTS = {"momentum": 0.9, "centered": True}
SHAPES = [(3,), (2, 2), (4, 2)]
# What is made per variable, and how often steps are taken.
ARGUMENTS = {
    "plain": {},
    "all_slots": ALL_SLOTS,
    "averages": {"use_ema": True, "ema_overwrite_frequency": 2},
    "keras2_averages": {"use_ema": True, "update_rule": "keras2"},
    "accumulation": {"gradient_accumulation_steps": 2},
    "tf1": {"update_rule": "tf1"},
}
WRAPPERS = {
    "eager": lambda f: f,
    "graph": tf.function,
    "xla": lambda f: tf.function(f, jit_compile=True),
}


def product(**choices):
    return parameterized.named_parameters(*combinations(**choices))


def variables():
    return [
        tf.Variable(tf.ones(SHAPES[0])),
        keras.Variable(np.ones(SHAPES[1], "float32")),
        tf.Variable(tf.ones(SHAPES[2])),
    ]


def gradients(seed=0):
    rng = np.random.default_rng(seed)
    return [tf.constant(rng.normal(size=shape), tf.float32) for shape in SHAPES]


def values(optimizer, trained=()):
    return [np.array(v.numpy()) for v in (*trained, *optimizer.variables)]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected):
        np.testing.assert_array_equal(a, b)


_PLACES = re.compile("keras_rmsprop|keras/src/(optimizers|backend)")
_OF_CONTEXTS = ("__enter__", "__exit__")


class Interrupt(KeyboardInterrupt):
    """What a tracer raises."""


def traced(step, line=None):
    """Calls `step`, interrupted before that line of ours or of Keras' optimizer.

    Lines of TensorFlow are left out: what its C++ calls must not raise. So are those
    where Keras enters and leaves a name scope, which then stays open for good.

    Returns:
        Whether it was interrupted, and how many lines there were until then.
    """
    lines = itertools.count()

    def trace(frame, event, _):
        code = frame.f_code
        if not _PLACES.search(code.co_filename) or code.co_name in _OF_CONTEXTS:
            return None
        if event == "line" and next(lines) == line:
            sys.settrace(None)
            raise Interrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        step()
    except Interrupt:
        return True, line
    finally:
        sys.settrace(before)
    return False, next(lines)


def some_lines(step, count):
    """Returns some `count` lines, evenly spread over those that a step takes."""
    _, total = traced(step)
    return range(0, total, max(1, total // count))


class InterruptTest(parameterized.TestCase):
    def tearDown(self):
        super().tearDown()
        self.assertEqual(tf.Variable(1.0, name="in_no_scope").name, "in_no_scope:0")
        self.assertEqual(keras.Variable(1.0, name="in_no_scope").path, "in_no_scope")

    @product(case={"eager": (lambda f: f, 40), "graph": (tf.function, 16)})
    def test_an_interrupt_anywhere_in_the_first_step_loses_nothing(self, case):
        wrap, count = case
        arguments = {**ALL_SLOTS, "use_ema": True}
        given = gradients()

        def fresh():
            trained, optimizer = variables(), keras_rmsprop.RMSprop(0.1, **arguments)
            step = wrap(lambda: optimizer.apply(given, trained))
            return trained, optimizer, step

        def state(trained, optimizer):
            return values(optimizer, trained)

        trained, optimizer, step = fresh()
        expected = [state(trained, optimizer)]
        optimizer.build(trained)
        expected.append(state(trained, optimizer))
        for _ in range(3):
            step()
            expected.append(state(trained, optimizer))
        moved = expected[2][:3]
        for line in some_lines(fresh()[2], count):
            trained, optimizer, step = fresh()
            self.assertTrue(traced(step, line)[0])
            self.assertEqual(len(optimizer.variables), (2, 14)[optimizer.built])
            found = state(trained, optimizer)
            for value, before, after in zip(found, expected[0], moved):
                self.assertTrue(
                    np.array_equal(value, before) or np.array_equal(value, after)
                )
            taken = int(optimizer.iterations)
            if taken or np.array_equal(found[0], expected[0][0]):
                # All of the step was taken, or none.
                for _ in range(2):
                    step()
                assert_same(state(trained, optimizer), expected[3 + taken])
            step()  # Whatever happened, it goes on.

    def test_an_interrupt_where_variables_are_taken_on_later_loses_nothing(self):
        given = gradients()

        def started():
            trained, optimizer = variables(), keras_rmsprop.RMSprop(0.1, **ALL_SLOTS)
            optimizer.apply(given[:2], trained[:2])
            return trained, optimizer, lambda: optimizer.build(trained)

        trained, optimizer, build = started()
        before = values(optimizer)
        build()
        after = values(optimizer)
        for line in some_lines(started()[2], 30):
            trained, optimizer, build = started()
            self.assertTrue(traced(build, line)[0])
            grown = len(optimizer.variables) == len(after)
            assert_same(values(optimizer), after if grown else before)
            optimizer.apply(given[:2], trained[:2])
            optimizer.apply(given, trained)
            self.assertEqual(int(optimizer.iterations), 3)
            self.assertLen(optimizer.variables, len(after))

    @parameterized.parameters(*range(9))
    def test_variables_that_cannot_be_made_leave_the_optimizer_unbuilt(self, failing):
        trained, optimizer = variables(), keras_rmsprop.RMSprop(0.1, **ALL_SLOTS)
        made = itertools.count()

        def creator(next_creator, **arguments):
            if next(made) == failing:
                raise MemoryError
            return next_creator(**arguments)

        with self.assertRaises(MemoryError), tf.variable_creator_scope(creator):
            optimizer.apply(gradients(), trained)
        self.assertFalse(optimizer.built)
        self.assertLen(optimizer.variables, 2)
        other, unharmed = variables(), keras_rmsprop.RMSprop(0.1, **ALL_SLOTS)
        for _ in range(2):
            optimizer.apply(gradients(), trained)
            unharmed.apply(gradients(), other)
        assert_same(values(optimizer, trained), values(unharmed, other))

    def test_a_first_step_that_failed_still_restores_a_checkpoint(self):
        trained, optimizer = variables(), keras_rmsprop.RMSprop(0.1, **ALL_SLOTS)
        optimizer.apply(gradients(), trained)
        path = tf.train.Checkpoint(optimizer=optimizer, trained=trained).save(
            os.path.join(tempfile.mkdtemp(), "checkpoint")
        )
        for failing in range(9):
            other, made = keras_rmsprop.RMSprop(0.1, **ALL_SLOTS), itertools.count()
            checkpoint = tf.train.Checkpoint(optimizer=other, trained=trained)
            status = checkpoint.restore(path)
            add = type(other).add_variable_from_reference

            def fails(*arguments, made=made, failing=failing, add=add, **named):
                if next(made) == failing:
                    raise KeyboardInterrupt
                return add(*arguments, **named)

            with (
                self.assertRaises(KeyboardInterrupt),
                mock.patch.object(type(other), "add_variable_from_reference", fails),
            ):
                other.build(trained)
            other.build(trained)
            status.assert_existing_objects_matched()
            assert_same(values(other), values(optimizer))

    def test_a_subclass_is_built_as_a_whole(self):
        class Counting(keras_rmsprop.RMSprop):
            fails = True

            def build(self, variables):
                super().build(variables)
                self.seen = self.add_optimizer_variables(variables, "seen")
                if self.fails:
                    raise KeyboardInterrupt

        trained, optimizer = variables(), Counting(0.1)
        for build in (optimizer.build, lambda v: optimizer.apply(gradients(), v)):
            with self.assertRaises(KeyboardInterrupt):
                build(trained)
            self.assertFalse(optimizer.built)
            self.assertLen(optimizer.variables, 2)
            self.assertFalse(hasattr(optimizer, "seen"))
        Counting.fails = False
        optimizer.apply(gradients()[:2], trained[:2])
        optimizer.apply(gradients(), trained)
        self.assertLen(optimizer.seen, 3)
        self.assertLen(optimizer.variables, 2 + 2 * 3)

    def test_threads_that_take_the_first_step_at_once_build_once(self):
        for _ in range(10):
            trained, optimizer = variables(), keras_rmsprop.RMSprop(0.1, **ALL_SLOTS)
            start, failures = threading.Barrier(4), []

            def step(start=start, optimizer=optimizer, trained=trained, to=failures):
                start.wait()
                try:
                    optimizer.apply(gradients(), trained)
                except Exception as error:
                    to.append(error)

            threads = [threading.Thread(target=step) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(failures, [])
            self.assertEqual(int(optimizer.iterations), 4)
            self.assertLen(optimizer.variables, 2 + 3 * 3)


class LaterVariablesTest(parameterized.TestCase):
    # Which variables take part in which step.
    STEPS = [(0,), (0, 1), (1, 0), (2,), (0, 1, 2), (1, 2), (0, 1, 2), (0, 1, 2)]

    @product(arguments={"plain": {}, "momentum": {"momentum": 0.9}, "all": ALL_SLOTS})
    def test_variables_that_come_later_train_as_with_optimizer_v2(self, arguments):
        finals = []
        for make in (
            lambda **a: keras_rmsprop.RMSprop(0.1, update_rule="legacy", **a),
            lambda **a: tf_keras.optimizers.legacy.RMSprop(0.1, **a),
        ):
            trained = [tf.Variable(v.numpy()) for v in variables()]
            optimizer = make(**arguments)
            for seed, members in enumerate(self.STEPS):
                given = gradients(seed)
                optimizer.apply_gradients([(given[i], trained[i]) for i in members])
            finals.append([v.numpy() for v in trained])
        assert_same(*finals)

    @product(arguments=ARGUMENTS, wrap=WRAPPERS)
    def test_slots_start_as_those_of_a_new_variable(self, arguments, wrap):
        # Steps of other variables before do not count for those that come later.
        trained, optimizer = variables(), keras_rmsprop.RMSprop(0.1, **arguments)
        single, alone = variables()[2], keras_rmsprop.RMSprop(0.1, **arguments)
        alone.build([single])
        if alone.use_ema:  # Where there were no steps before, Keras waits for one.
            alone._model_variables_moving_average[0].assign(single)
        alone._iterations.assign(2)
        alone_step = wrap(lambda g: alone.apply([g], [single]))

        @wrap
        def step(given):
            optimizer.apply(given, trained[: len(given)])

        for seed in range(2):
            step(gradients(seed)[:2])
        for seed in range(2, 6):
            step(gradients(seed))
            alone_step(gradients(seed)[2])
        self.assertEqual(int(optimizer._iterations), 6)
        np.testing.assert_allclose(trained[2].numpy(), single.numpy(), rtol=1e-5)
        later = [v for v in optimizer.variables[2:] if v.shape == SHAPES[2]]
        for slot, expected in zip(later, alone.variables[2:], strict=True):
            np.testing.assert_allclose(slot.numpy(), expected.numpy(), rtol=1e-5)

    @product(arguments=ARGUMENTS)
    def test_the_state_is_that_of_an_optimizer_that_had_all_at_once(self, arguments):
        trained, optimizer = variables(), keras_rmsprop.RMSprop(0.1, **arguments)
        for count in (1, 2, 3):
            optimizer.apply(gradients(count)[:count], trained[:count])
        store, folder = {}, tempfile.mkdtemp()
        optimizer.save_own_variables(store)
        checkpoint = tf.train.Checkpoint(optimizer=optimizer)
        path = checkpoint.save(os.path.join(folder, "checkpoint"))

        others = [keras_rmsprop.RMSprop(0.1, **arguments) for _ in range(4)]
        others[0].build(trained)
        others[0].load_own_variables(store)
        others[1].build(trained)
        tf.train.Checkpoint(optimizer=others[1]).restore(path).assert_consumed()
        others[2].build(trained[:1])  # The others are restored when they come.
        tf.train.Checkpoint(optimizer=others[2]).restore(path)
        others[2].build(trained[:2])
        others[2].build(trained)
        tf.train.Checkpoint(optimizer=others[3]).restore(path)
        others[3].build(trained[:1])
        others[3].build(trained)
        for other in others:
            assert_same(values(other), values(optimizer))
            names = [
                [v.path.split("/")[-1] for v in o.variables] for o in (optimizer, other)
            ]
            self.assertEqual(*names)

    def test_a_checkpoint_of_fewer_variables_restores_what_it_has(self):
        trained, optimizer = variables(), keras_rmsprop.RMSprop(0.1, **ALL_SLOTS)
        optimizer.apply(gradients()[:2], trained[:2])
        checkpoint = tf.train.Checkpoint(optimizer=optimizer)
        path = checkpoint.save(os.path.join(tempfile.mkdtemp(), "checkpoint"))
        known = list(optimizer.variables)
        expected = [v.numpy() for v in known]
        optimizer.apply(gradients(), trained)
        checkpoint.restore(path)
        for variable, value in zip(known, expected):
            np.testing.assert_array_equal(variable.numpy(), value)

    def test_stock_keras_reads_the_checkpoint(self):
        trained, optimizer = variables(), keras_rmsprop.RMSprop(0.1, **ALL_SLOTS)
        optimizer.apply(gradients()[:1], trained[:1])
        optimizer.apply(gradients(), trained)
        checkpoint = tf.train.Checkpoint(optimizer=optimizer)
        path = checkpoint.save(os.path.join(tempfile.mkdtemp(), "checkpoint"))
        stock = keras.optimizers.RMSprop(0.1, **ALL_SLOTS)
        stock.build(trained)
        tf.train.Checkpoint(optimizer=stock).restore(path).assert_consumed()
        assert_same(values(stock), values(optimizer))

    def test_a_known_variable_is_taken_on_once(self):
        trained, optimizer = variables(), keras_rmsprop.RMSprop(0.1)
        optimizer.build(trained[:2])
        optimizer.build(trained[:2])
        optimizer.build([trained[2], trained[0], trained[2]])
        self.assertLen(optimizer.variables, 2 + 3)

    def test_what_cannot_be_trained_is_refused_and_changes_nothing(self):
        trained, optimizer = variables(), keras_rmsprop.RMSprop(0.1)
        optimizer.apply(gradients()[:1], trained[:1])
        before = values(optimizer, trained)
        integers = keras.Variable([1, 2], dtype="int32")
        with two_cpus().scope():
            elsewhere = tf.Variable(tf.ones(2))
        for wrong, message in ((integers, "int32"), (elsewhere, "same scope")):
            with self.assertRaisesRegex(ValueError, message):
                optimizer.build([trained[1], wrong])
        with self.assertRaisesRegex(ValueError, r"\(2, 2\)"):
            optimizer.apply([gradients()[0], tf.ones(5)], trained[:2])
        assert_same(values(optimizer, trained), before)

    def test_a_loss_scale_optimizer_passes_later_variables_on(self):
        trained = [keras.Variable(np.ones(shape, "float32")) for shape in SHAPES]
        inner = keras_rmsprop.RMSprop(0.1)
        optimizer = keras.optimizers.LossScaleOptimizer(inner)
        step = tf.function(lambda given: optimizer.apply(given, trained[: len(given)]))
        step(gradients()[:1])
        step(gradients())
        self.assertLen(inner.variables, 2 + 3)
        self.assertFalse(np.array_equal(trained[2].numpy(), np.ones(SHAPES[2])))

    @product(arguments={k: v for k, v in ARGUMENTS.items() if k != "accumulation"})
    def test_replicas_take_variables_on_as_one_machine_does(self, arguments):
        strategy, results = two_cpus(), []
        with strategy.scope():
            mirrored, optimizer = variables(), keras_rmsprop.RMSprop(0.1, **arguments)

        @tf.function
        def replicated_step(given):
            def step():
                optimizer.apply([g / 2 for g in given], mirrored[: len(given)])

            strategy.run(step)

        alone, single = variables(), keras_rmsprop.RMSprop(0.1, **arguments)
        for count in (1, 1, 3, 3):
            replicated_step(gradients(count)[:count])
            single.apply(gradients(count)[:count], alone[:count])
        results = values(optimizer, mirrored), values(single, alone)
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

    def test_accumulation_over_parts_warns(self):
        trained = variables()
        optimizer = keras_rmsprop.RMSprop(0.1, gradient_accumulation_steps=2)
        optimizer.apply(gradients(), trained)
        with self.assertWarnsRegex(UserWarning, "one optimizer for each model"):
            optimizer.apply(gradients()[:1], trained[:1])


class SeveralModelsTest(parameterized.TestCase):
    def gan(self, optimizer, run_eagerly):
        """Returns a critic and the combined model in which it is frozen."""
        keras.utils.set_random_seed(0)
        generator = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4)])
        critic = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        critic.compile(optimizer, "mse", run_eagerly=run_eagerly)
        frozen = keras.Sequential([keras.Input((4,)), *critic.layers])
        combined = keras.Sequential([generator, frozen])
        combined.compile(optimizer, "mse", run_eagerly=run_eagerly)
        return critic, combined, frozen

    @product(
        run_eagerly={"graph": False, "eager": True},
        arguments={
            "plain": {"momentum": 0.9},
            "averages": {"use_ema": True, "ema_overwrite_frequency": 3},
        },
    )
    def test_one_optimizer_trains_critic_and_generator(self, run_eagerly, arguments):
        optimizer = keras_rmsprop.RMSprop(0.01, **arguments)
        critic, combined, frozen = self.gan(optimizer, run_eagerly)
        rng = np.random.default_rng(0)
        real, noise = rng.normal(size=(8, 4)), rng.normal(size=(8, 2))
        for _ in range(3):
            frozen.trainable = True
            critic.train_on_batch(real, np.ones((8, 1)))
            frozen.trainable = False
            before = [w.numpy() for w in critic.weights]
            combined.train_on_batch(noise, np.ones((8, 1)))
            if not optimizer.use_ema:
                assert_same([w.numpy() for w in critic.weights], before)
        self.assertEqual(int(optimizer.iterations), 6)
        self.assertLen(optimizer.variables, 2 + 2 * 4)
        combined.fit(noise, np.ones((8, 1)), epochs=2, verbose=0)
        self.assertEqual(int(optimizer.iterations), 8)

    @product(run_eagerly={"graph": False, "eager": True})
    def test_layers_unfrozen_between_two_fits_are_trained(self, run_eagerly):
        keras.utils.set_random_seed(0)
        layers = [keras.layers.Dense(4), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((4,)), *layers])
        layers[0].trainable = False
        optimizer = keras_rmsprop.RMSprop(0.01)
        data = np.ones((8, 4)), np.ones((8, 1))
        model.compile(optimizer, "mse", run_eagerly=run_eagerly)
        model.fit(*data, verbose=0)
        before = layers[0].kernel.numpy()
        layers[0].trainable = True
        model.compile(optimizer, "mse", run_eagerly=run_eagerly)
        model.fit(*data, verbose=0)
        self.assertFalse(np.array_equal(layers[0].kernel.numpy(), before))
        self.assertEqual(int(optimizer.iterations), 2)
        self.assertLen(optimizer.variables, 2 + 4)

    def test_the_state_of_a_model_with_unfrozen_layers_is_saved_and_loaded(self):
        def model(optimizer):
            layers = [keras.layers.Dense(4), keras.layers.Dense(1)]
            layers[0].trainable = False
            model = keras.Sequential([keras.Input((4,)), *layers])
            model.compile(optimizer, "mse")
            return model, layers

        trained, layers = model(keras_rmsprop.RMSprop(0.01, **ALL_SLOTS))
        trained.fit(np.ones((8, 4)), np.ones((8, 1)), verbose=0)
        layers[0].trainable = True
        trained.fit(np.ones((6, 4)), np.ones((6, 1)), verbose=0)
        trained.optimizer.build(trained.trainable_variables)
        path = os.path.join(tempfile.mkdtemp(), "model.weights.h5")
        trained.save_weights(path)

        other, layers = model(keras_rmsprop.RMSprop(0.01, **ALL_SLOTS))
        head = list(other.trainable_variables)
        layers[0].trainable = True
        other.optimizer.build(head)
        other.optimizer.build(other.trainable_variables)
        other.load_weights(path)
        assert_same(values(other.optimizer), values(trained.optimizer))
