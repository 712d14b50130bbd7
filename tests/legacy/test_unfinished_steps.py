"""Steps that fail, are interrupted, or are the first of several threads cost nothing.

Of the faces that make their variables in the first step.
"""

import os
import sys
import tempfile
import threading

import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import compat_v1
import keras_rmsprop
from compat_v1.keras import optimizer_v1
from compat_v1.train import RMSPropOptimizer
from keras_rmsprop import legacy

FACES = {
    "legacy": lambda: legacy.RMSprop(0.01, momentum=0.9, sparse_updates="lazy"),
    "legacy_centered": lambda: legacy.RMSprop(0.01, centered=True),
    "of_2017": lambda: optimizer_v1.RMSprop(0.01),
    "tf1": lambda: RMSPropOptimizer(0.01, momentum=0.9, centered=True),
}
PACKAGES = tuple(
    os.path.dirname(package.__file__) for package in (keras_rmsprop, compat_v1)
)


def variables():
    values = np.random.default_rng(3).normal(size=(2, 5, 3)).astype("float32")
    return [tf.Variable(value) for value in values]


def step(optimizer, trained):
    optimizer.apply_gradients([(tf.ones((5, 3)), var) for var in trained])


def state(optimizer, trained):
    """Returns the values of variables and slots."""
    slots = [
        optimizer.get_slot(var, name)
        for var in trained
        for name in sorted(optimizer.get_slot_names())
    ]
    return [each.numpy() for each in [*trained, *slots]]


class Interrupted:
    """Raises a KeyboardInterrupt at the nth line that our packages come to."""

    def __init__(self, at):
        self._left = at

    def __enter__(self):
        self._outer = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_):
        sys.settrace(self._outer)

    def _trace(self, frame, event, _):
        if not frame.f_code.co_filename.startswith(PACKAGES):
            return None
        if event == "line":
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt
        return self._trace


def lines_of(work):
    counter = Interrupted(10**9)
    with counter:
        work()
    return 10**9 - counter._left


class UnfinishedStepsTest(parameterized.TestCase):
    @parameterized.product(face=list(FACES), steps_before=[0, 2])
    def test_interrupts_at_any_point_lose_nothing_and_count_no_step_twice(
        self, face, steps_before
    ):
        def prepared():
            optimizer, trained = FACES[face](), variables()
            for _ in range(steps_before):
                step(optimizer, trained)
            return optimizer, trained

        optimizer, trained = prepared()
        lines = lines_of(lambda: step(optimizer, trained))
        whole = state(optimizer, trained)
        points = np.random.default_rng(7).integers(1, lines + 1, 40)
        for at in sorted({1, lines, *points}):
            optimizer, trained = prepared()
            before = [var.numpy() for var in trained]
            with self.assertRaises(KeyboardInterrupt), Interrupted(at):
                step(optimizer, trained)
            moved = [
                not np.array_equal(var.numpy(), value)
                for var, value in zip(trained, before)
            ]
            count = int(getattr(optimizer, "iterations", steps_before))
            self.assertIn(count, (steps_before, steps_before + 1), at)
            if count > steps_before:
                self.assertTrue(all(moved), at)
            if any(moved):
                continue
            # Nothing has moved: what follows is what would have been.
            step(optimizer, trained)
            if face == "legacy":  # One operation moves all that is of a variable.
                for got, expected in zip(state(optimizer, trained), whole):
                    np.testing.assert_array_equal(got, expected, str(at))
            if hasattr(optimizer, "get_weights"):
                self.assertLen(
                    optimizer.get_weights(), len(whole) - 2 + (face != "of_2017"), at
                )

    @parameterized.parameters("legacy", "legacy_centered", "of_2017")
    def test_a_first_step_that_fails_leaves_the_optimizer_as_if_not_tried(self, face):
        optimizer, trained = FACES[face](), variables()
        made = optimizer._new_slot

        def fail_at_the_second(var, *arguments):
            if var is trained[1]:
                raise tf.errors.ResourceExhaustedError(None, None, "no memory")
            return made(var, *arguments)

        optimizer._new_slot = fail_at_the_second
        with self.assertRaises(tf.errors.ResourceExhaustedError):
            step(optimizer, trained)
        del optimizer._new_slot
        self.assertFalse(optimizer.built)
        self.assertEmpty(optimizer.get_slot_names())
        self.assertEqual(int(optimizer.iterations), 0)
        # Others may take the place of those that failed.
        step(optimizer, trained[1:])
        with self.assertRaises(KeyError):
            optimizer.get_slot(trained[0], "rms")
        twin, others = FACES[face](), variables()
        step(twin, others[1:])
        for got, expected in zip(
            optimizer.get_weights(), twin.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(got, expected)

    def test_slots_that_a_checkpoint_gave_survive_a_failing_step(self):
        source, trained = FACES["legacy"](), variables()
        step(source, trained)
        folder = self.enter_context(tempfile.TemporaryDirectory())
        checkpoint = tf.train.Checkpoint(optimizer=source, v=trained)
        path = checkpoint.save(os.path.join(folder, "ckpt"))
        target, others = FACES["legacy"](), variables()
        tf.train.Checkpoint(optimizer=target, v=others).restore(path)
        make = target._create_slots

        def fail_afterwards(var_list):
            make(var_list)
            raise KeyboardInterrupt

        target._create_slots = fail_afterwards
        with self.assertRaises(KeyboardInterrupt):
            step(target, others)
        del target._create_slots
        step(source, trained)
        step(target, others)
        for got, expected in zip(
            target.get_weights(), source.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(got, expected)

    @parameterized.parameters(*FACES)
    def test_four_threads_take_the_first_step_of_one_optimizer(self, face):
        for _ in range(5):
            optimizer = FACES[face]()
            each = [variables() for _ in range(4)]
            start, errors = threading.Barrier(4), []

            def work(trained):
                start.wait()  # noqa: B023
                try:
                    for _ in range(3):
                        step(optimizer, trained)  # noqa: B023
                except Exception as error:  # noqa: BLE001
                    errors.append(error)  # noqa: B023

            threads = [threading.Thread(target=work, args=(own,)) for own in each]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEmpty(errors)
            alone, own = FACES[face](), variables()
            for _ in range(3):
                step(alone, own)
            for trained in each:
                for got, expected in zip(
                    state(optimizer, trained), state(alone, own), strict=True
                ):
                    np.testing.assert_array_equal(got, expected)
            if hasattr(optimizer, "iterations"):
                self.assertEqual(int(optimizer.iterations), 12)
