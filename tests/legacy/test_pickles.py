"""Copies and pickles of an optimizer come back whole: slots, steps, hyperparameters."""

import copy
import io
import os
import pickle
import subprocess
import sys
import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

from compat_v1.keras import optimizer_v1
from keras_rmsprop import legacy

FACES = {
    "legacy": lambda: legacy.RMSprop(0.01, momentum=0.9, centered=True, decay=0.1),
    "dense": lambda: legacy.RMSprop(0.01, sparse_updates="dense", clipnorm=1.0),
    "of_2017": lambda: optimizer_v1.RMSprop(0.01, decay=0.1, clipvalue=0.5),
}


def pickled(optimizer):
    return pickle.loads(pickle.dumps(optimizer))


def cloudpickled(optimizer):
    import cloudpickle

    return pickle.loads(cloudpickle.dumps(optimizer))


def joblib_dumped(optimizer):
    import joblib

    file = io.BytesIO()
    joblib.dump(optimizer, file)
    file.seek(0)
    return joblib.load(file)


WAYS = {
    "pickle": pickled,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    # scikit-learn, which the tests need, brings joblib.
    "joblib": joblib_dumped,
}


def variables(names=("a", "a", "b"), seed=0):
    random = np.random.default_rng(seed)
    values = random.normal(size=(len(names), 4, 3)).astype("float32")
    return [tf.Variable(v, name=name) for v, name in zip(values, names)]


def step(optimizer, trained):
    optimizer.apply_gradients([(var * 0.5, var) for var in trained])


def trained_by(face, **kwargs):
    optimizer, trained = FACES[face](), variables(**kwargs)
    for _ in range(3):
        step(optimizer, trained)
    return optimizer, trained


class PicklesTest(parameterized.TestCase):
    def assertSame(self, received, expected):
        for got, want in zip(received, expected, strict=True):
            np.testing.assert_array_equal(got, want)

    @parameterized.product(face=list(FACES), way=list(WAYS))
    def test_state_comes_along(self, face, way):
        optimizer, trained = trained_by(face)
        optimizer.learning_rate = 0.02
        twin = WAYS[way](optimizer)
        self.assertIs(type(twin), type(optimizer))
        self.assertEqual(twin.get_config(), optimizer.get_config())
        self.assertEqual(int(twin.iterations), 3)
        self.assertSame(twin.get_weights(), optimizer.get_weights())
        before = [var.numpy() for var in trained]
        step(optimizer, trained)
        after = [var.numpy() for var in trained]
        for var, value in zip(trained, before):
            var.assign(value)
        step(twin, trained)
        self.assertSame(trained, after)
        self.assertSame(twin.get_weights(), optimizer.get_weights())

    def test_classes_of_a_script_come_along_by_cloudpickle(self):
        try:
            import cloudpickle  # noqa: F401
        except ImportError:
            self.skipTest("cloudpickle is not installed")
        optimizer, trained = trained_by("legacy")
        twin = cloudpickled(optimizer)
        step(optimizer, trained)
        step(twin, variables())
        self.assertEqual(int(twin.iterations), 4)

    def test_another_process_goes_on(self):
        optimizer, trained = trained_by("legacy")
        program = (
            "import pickle, sys, tensorflow as tf\n"
            "optimizer, values = pickle.load(sys.stdin.buffer)\n"
            "trained = [tf.Variable(v, name=n) for v, n in zip(values, 'aab')]\n"
            "optimizer.apply_gradients([(v * 0.5, v) for v in trained])\n"
            "out = [v.numpy() for v in trained], optimizer.get_weights()\n"
            "sys.stdout.buffer.write(pickle.dumps(out))\n"
        )
        given = pickle.dumps((optimizer, [var.numpy() for var in trained]))
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=given,
            capture_output=True,
            check=True,
        )
        values, weights = pickle.loads(done.stdout)
        step(optimizer, trained)
        self.assertSame(values, trained)
        self.assertSame(weights, optimizer.get_weights())

    def test_counters_in_names_may_differ(self):
        optimizer, trained = trained_by("legacy", names=["dense/kernel", "dense/bias"])
        twin = pickled(optimizer)
        others = variables(names=["dense_3/kernel", "dense_3/bias"])
        for var, value in zip(others, trained):
            var.assign(value)
        step(optimizer, trained)
        step(twin, others)
        self.assertSame(others, trained)
        self.assertSame(twin.get_weights(), optimizer.get_weights())

    @parameterized.named_parameters(
        ("other_names", ["c", "d", "e"]),
        ("one_of_two_alike", ["a"]),
        ("another_order", ["b", "a", "c"]),
    )
    def test_what_names_do_not_tell_is_refused(self, names):
        twin = pickled(trained_by("legacy")[0])
        before = twin.get_weights()
        with self.assertRaisesRegex(ValueError, "cannot be told"):
            step(twin, variables(names=names))
        self.assertSame(twin.get_weights(), before)

    def test_some_of_the_variables_find_their_slots_and_new_ones_get_theirs(self):
        optimizer, trained = trained_by("legacy", names=["a", "b", "c"])
        twin = pickled(optimizer)
        others = [tf.Variable(var, name=var.name[:-2]) for var in trained]
        step(twin, others[1:])
        step(optimizer, trained[1:])
        self.assertSame(others, trained)
        step(twin, [*others, *variables(names=["d"])])
        step(optimizer, [*trained, *variables(names=["d"])])
        self.assertSame(twin.get_weights(), optimizer.get_weights())

    def test_it_trains_keras_models(self):
        def model():
            keras.utils.set_random_seed(1)
            return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])

        x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
        first, second = model(), model()
        optimizer = legacy.RMSprop(0.01, momentum=0.9)
        first.compile(optimizer, loss="mse")
        first.fit(x, x[:, :3], verbose=0)
        second.set_weights(first.get_weights())
        second.compile(pickled(optimizer), loss="mse")
        for each in (first, second):
            each.fit(x, x[:, :3], verbose=0)
        self.assertSame(second.get_weights(), first.get_weights())
        self.assertSame(second.optimizer.get_weights(), optimizer.get_weights())

    def test_a_schedule_and_a_step_not_yet_taken_come_along(self):
        schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)
        twin = pickled(legacy.RMSprop(schedule))
        self.assertEqual(twin.learning_rate.get_config(), schedule.get_config())
        self.assertEmpty(twin.get_weights())
        self.assertIs(type(pickled(twin.learning_rate)), type(schedule))

    def test_one_that_waits_for_a_checkpoint_is_refused(self):
        optimizer, trained = trained_by("legacy")
        folder = self.enter_context(tempfile.TemporaryDirectory())
        checkpoint = tf.train.Checkpoint(optimizer=optimizer, v=trained)
        path = checkpoint.save(os.path.join(folder, "ckpt"))
        target = FACES["legacy"]()
        tf.train.Checkpoint(optimizer=target).restore(path)
        with self.assertRaisesRegex(ValueError, "cannot be pickled while it waits"):
            pickle.dumps(target)
