"""Native kernels: the bits of TensorFlow's, in one pass, and only where they belong."""

import os
import subprocess
import sys
import tempfile
import threading
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import keras_rmsprop
from compat_v1.train import RMSPropOptimizer
from keras_rmsprop import core
from keras_rmsprop.core import raw_kernels, steps
from keras_rmsprop.core.native import library
from keras_rmsprop.core.native import steps as native
from keras_rmsprop.update_rule import RULES, UpdateRule

needs_kernels = pytest.mark.skipif(
    library.find().ops is None, reason=f"native kernels: {library.find().reason}"
)
FLOATS = ("float32", "float64")
# Ordinary sizes and signs, what has no square, what overflows when squared, and zero.
_SIZES = (1.0, 1e-3, 1e-25, 1e25, 0.0)


def variables_of(rule, momentum, centered, shape, dtype="float32", device="CPU:0"):
    values = np.random.default_rng(0).normal(size=shape)
    with tf.device(device):

        def filled(value):
            return tf.Variable(tf.fill(shape, tf.constant(value, dtype)))

        slots = core.Slots(
            rms=filled(rule.initial_mean_square),
            mg=filled(0.0) if centered else None,
            momentum=filled(0.0) if rule.has_momentum_slot(momentum) else None,
        )
        return tf.Variable(tf.constant(values, dtype)), slots


def take_together(together, rule, held, gradients, hyper):
    """Takes a step of `(variable, slots)` pairs."""
    slots = {id(variable): each for variable, each in held}
    variables = [variable for variable, _ in held]
    together.apply(rule, variables, lambda v: slots[id(v)], gradients, hyper)


def without_native_kernels():
    return mock.patch.object(native, "_take", lambda _: False)


def by_ordinary_ops():
    return mock.patch.object(raw_kernels, "op_for", lambda *_: None)


def values_of(variable, slots):
    return [v.numpy() for v in (variable, *slots) if v is not None]


def assert_same_bits(*states):
    for a, b in zip(*states):
        np.testing.assert_array_equal(a, b)


@needs_kernels
class BitsTest(parameterized.TestCase):
    @parameterized.product(
        rule=("keras", "legacy", "tf1"),
        momentum=(0.0, 0.9),
        centered=(False, True),
        dtype=FLOATS,
        epsilon=(1e-7, 0.0),
    )
    def test_dense_steps_have_the_bits_of_what_runs_without_them(
        self, rule, momentum, centered, dtype, epsilon
    ):
        rule = UpdateRule.get(rule)
        hyper = core.Hyperparameters(0.01, 0.9, momentum, epsilon).cast(dtype)
        random = np.random.default_rng(1)
        gradients = random.normal(size=(30, 67, 31)) * random.choice(_SIZES, (67, 31))
        if rule.uses_kernels:
            # There what overflows turns into NaN, as it does in the shipped kernels.
            gradients = np.clip(gradients, -1e15, 1e15)
        states = []
        for aside in (False, True):
            variable, slots = variables_of(rule, momentum, centered, (67, 31), dtype)
            with without_native_kernels() if aside else mock.MagicMock():
                for gradient in gradients:
                    gradient = tf.constant(gradient, dtype)
                    core.apply_dense(rule, variable, slots, gradient, hyper)
            states.append(values_of(variable, slots))
        assert_same_bits(*states)
        self.assertTrue(all(np.isfinite(value).all() for value in states[0][:1]))

    @parameterized.product(
        momentum=(0.0, 0.9),
        centered=(False, True),
        dtype=FLOATS,
        index=("int32", "int64"),
    )
    def test_sparse_steps_have_the_bits_of_ordinary_ops(
        self, momentum, centered, dtype, index
    ):
        rule = UpdateRule.get("keras")
        hyper = core.Hyperparameters(0.01, 0.9, momentum, 1e-7).cast(dtype)
        random = np.random.default_rng(1)
        states = []
        batches = [
            (random.normal(size=(n, 7)), random.integers(0, 3000, n) ** 2 % 2999)
            for n in (0, 1, 50, 3000)
        ]
        for aside in (False, True):
            variable, slots = variables_of(rule, momentum, centered, (3000, 7), dtype)
            with without_native_kernels() if aside else mock.MagicMock():
                for values, indices in batches * 3:
                    core.apply_sparse(
                        rule,
                        variable,
                        slots,
                        tf.constant(values, dtype),
                        tf.constant(indices, index),
                        hyper,
                    )
            states.append(values_of(variable, slots))
        assert_same_bits(*states)

    def test_means_that_do_not_decay_keep_centered_steps_finite(self):
        # TensorFlow's kernel cannot be kept from this one.
        for rule in ("legacy", "tf1"):
            rule = UpdateRule.get(rule)
            variable, slots = variables_of(rule, 0.9, True, (100,))
            slots.rms.assign(tf.ones(100))
            slots.mg.assign(tf.fill([100], 1.1))
            hyper = core.Hyperparameters(0.01, 1.0, 0.9, 1e-7).cast(tf.float32)
            for _ in range(5):
                core.apply_dense(rule, variable, slots, tf.ones(100), hyper)
            self.assertTrue(np.isfinite(variable).all())


@needs_kernels
class TogetherTest(parameterized.TestCase):
    def test_dtypes_and_devices_are_told_apart(self):
        rule = UpdateRule.get("keras")
        kinds = [
            ("float32", "CPU:0"),
            ("float64", "CPU:0"),
            ("float16", "CPU:0"),
            ("float32", "CPU:1"),
        ]
        hyper = core.Hyperparameters(0.01, 0.9, 0.9, 1e-4)
        finals = []
        for aside in (False, True):
            held = [variables_of(rule, 0.9, False, (5, 3), *kind) for kind in kinds * 2]
            gradients = [tf.ones((5, 3), variable.dtype) for variable, _ in held]
            together = core.Together()
            with without_native_kernels() if aside else mock.MagicMock():
                for _ in range(3):
                    take_together(together, rule, held, gradients, hyper)
            finals.append([variable.numpy() for variable, _ in held])
            self.assertIn("CPU:1", held[3][0].device)
        for a, b in zip(*finals):
            np.testing.assert_allclose(a, b, rtol=1e-6)

    def test_a_variable_given_twice_takes_one_step_after_the_other(self):
        rule = UpdateRule.get("keras")
        hyper = core.Hyperparameters(0.01, 0.9, 0.0, 1e-7).cast("float32")
        gradients = [tf.ones(5), 2 * tf.ones(5)]
        finals = []
        for at_once in (True, False):
            variable, slots = variables_of(rule, 0.0, False, (5,))
            if at_once:
                held = [(variable, slots)] * 2
                take_together(core.Together(), rule, held, gradients, hyper)
            else:
                for gradient in gradients:
                    core.apply_dense(rule, variable, slots, gradient, hyper)
            finals.append(values_of(variable, slots))
        assert_same_bits(*finals)

    @parameterized.parameters(*RULES)
    def test_a_new_value_of_a_hyperparameter_makes_nothing_anew(self, rule):
        variables = [tf.Variable(tf.ones(3)) for _ in range(3)]
        optimizer = keras_rmsprop.RMSprop(0.1, update_rule=rule, momentum=0.5)
        optimizer.build(variables)
        gradients = [tf.ones(3)] * 3
        for aside in (without_native_kernels(), mock.MagicMock()):
            optimizer._together = core.Together()
            with aside:
                optimizer.apply(gradients, variables)
                with (
                    mock.patch.object(steps, "_prepared", side_effect=AssertionError),
                    mock.patch.object(steps, "apply_dense") as traced,
                ):
                    for value in (0.8, 0.7, 0.6):
                        optimizer.rho = value
                        optimizer.momentum = value
                        optimizer.epsilon = value * 1e-4
                        optimizer.learning_rate = value
                        optimizer.apply(gradients, variables)
            # The function, where there is one, was not traced again.
            if rule != "keras2":
                traced.assert_not_called()


@needs_kernels
class MemoryTest(parameterized.TestCase):
    @parameterized.product(kind=("dense", "sparse"), wrap=("eager", "graph"))
    def test_what_was_read_before_a_step_stays_as_it_was(self, kind, wrap):
        rule = UpdateRule.get("keras")
        variable, slots = variables_of(rule, 0.9, True, (40, 8))
        hyper = core.Hyperparameters(0.01, 0.9, 0.9, 1e-7).cast("float32")

        def step():
            if kind == "dense":
                core.apply_dense(rule, variable, slots, variable.read_value(), hyper)
            else:
                rows = tf.constant([3, 5, 3])
                core.apply_sparse(rule, variable, slots, tf.ones((3, 8)), rows, hyper)

        step = tf.function(step) if wrap == "graph" else step
        for spoil in (lambda: None, lambda: variable.sparse_read([1])):
            spoil()  # A read of rows has TensorFlow copy whole reads from then on.
            reads = [v.read_value() for v in (variable, *slots)]
            before = [np.array(read) for read in reads]
            step()
            for read, old, now in zip(reads, before, (variable, *slots)):
                np.testing.assert_array_equal(read, old)
                self.assertFalse(np.array_equal(old, now))

    def test_steps_write_in_place_where_nobody_holds_the_memory(self):
        rule = UpdateRule.get("keras")
        variable, slots = variables_of(rule, 0.0, False, (1000, 100))
        hyper = core.Hyperparameters(0.01, 0.9, 0.0, 1e-7).cast("float32")

        def address():
            shared = np.asarray(memoryview(variable.read_value()))
            return shared.__array_interface__["data"][0]

        core.apply_dense(rule, variable, slots, tf.ones((1000, 100)), hyper)
        first = address()
        for _ in range(3):
            core.apply_dense(rule, variable, slots, tf.ones((1000, 100)), hyper)
            core.apply_sparse(
                rule, variable, slots, tf.ones((1, 100)), tf.constant([7]), hyper
            )
        self.assertEqual(address(), first)


@needs_kernels
class ChecksTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        rule = UpdateRule.get("keras")
        self.held = [variables_of(rule, 0.9, False, (4, 2)) for _ in range(2)]
        self.hyper = core.Hyperparameters(0.01, 0.9, 0.9, 1e-7).cast("float32")
        self.before = [values_of(*held) for held in self.held]
        self.rule = rule

    def assert_refused(self, message, step):
        with self.assertRaisesRegex(tf.errors.OpError, message):
            step()
        for before, held in zip(self.before, self.held):
            assert_same_bits(before, values_of(*held))

    def test_a_gradient_of_another_shape_changes_nothing(self):
        gradients = [tf.ones((4, 2)), tf.ones((2, 4))]
        self.assert_refused(
            r"\[4,2\].*\[2,4\]",
            lambda: take_together(
                core.Together(), self.rule, self.held, gradients, self.hyper
            ),
        )

    @parameterized.parameters(-1, 4, 1 << 40)
    def test_an_index_out_of_range_changes_nothing(self, index):
        self.assert_refused(
            rf"\[0, 3\].*{index}",
            lambda: core.apply_sparse(
                self.rule,
                *self.held[0],
                tf.ones((2, 2)),
                tf.constant([1, index], tf.int64),
                self.hyper,
            ),
        )

    @parameterized.parameters("variables", "rms", "mg", "momentum", "gradients")
    def test_another_number_of_handles_changes_nothing(self, one_less):
        self.held = [variables_of(self.rule, 0.9, True, (4, 2)) for _ in range(2)]
        self.before = [values_of(*held) for held in self.held]
        given = {"variables": [variable.handle for variable, _ in self.held]}
        for name in ("rms", "mg", "momentum"):
            given[name] = [getattr(slots, name).handle for _, slots in self.held]
        given["gradients"] = [tf.ones((4, 2))] * 2
        given[one_less] = given[one_less][1:]
        for name in given.keys() - {"gradients"}:
            given[name] = [tf.stack(given[name])]
        self.assert_refused(
            r"must hold .*\b[12]\b.*Received: [12]",
            lambda: library.ops().keras_rmsprop_dense(
                **given,
                form="keras",
                learning_rate=0.1,
                rho=0.9,
                one_minus_rho=[],
                momentum_discount=0.9,
                epsilon=1e-7,
            ),
        )

    def test_slots_of_another_shape_change_nothing(self):
        variable, slots = self.held[0]
        slots = slots._replace(rms=tf.Variable(tf.ones(3)))
        self.assert_refused(
            r"\[4,2\].*\[3\]",
            lambda: core.apply_dense(
                self.rule, variable, slots, tf.ones((4, 2)), self.hyper
            ),
        )


@needs_kernels
class ThreadsTest(parameterized.TestCase):
    @parameterized.product(kind=("dense", "sparse"))
    def test_threads_lose_no_step_and_do_not_wait_for_each_other(self, kind):
        rule = UpdateRule.get("keras")
        held = [variables_of(rule, 0.0, False, (64, 64)) for _ in range(4)]
        before = [variable.numpy() for variable, _ in held]
        # Without memory of other steps every step subtracts the same.
        hyper = core.Hyperparameters(2.0**-6, 0.0, 0.0, 0.0).cast("float32")
        steps, gradient, rows = 50, tf.ones((64, 64)), tf.range(64)

        def train(order):
            pairs = [held[i] for i in order]
            for _ in range(steps):
                if kind == "dense":
                    gradients = [gradient] * len(pairs)
                    take_together(core.Together(), rule, pairs, gradients, hyper)
                else:
                    for variable, slots in pairs:
                        core.apply_sparse(rule, variable, slots, gradient, rows, hyper)
                held[order[0]][0].read_value()

        orders = ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1])
        threads = [threading.Thread(target=train, args=(order,)) for order in orders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
            self.assertFalse(thread.is_alive())
        for old, (variable, _) in zip(before, held):
            moved = len(orders) * steps * 2.0**-6
            np.testing.assert_allclose(variable, old - moved, rtol=1e-5, atol=1e-5)


@needs_kernels
class PlacesTest(parameterized.TestCase):
    def ops_of(self, step):
        graph = step.get_concrete_function().graph
        return {op.type for op in graph.get_operations()}

    def test_functions_hold_the_ops_and_xla_does_not(self):
        variable = tf.Variable(tf.ones((4, 2)))
        optimizer = keras_rmsprop.RMSprop(0.1)
        optimizer.build([variable])

        def step():
            optimizer.apply([tf.ones((4, 2))], [variable])

        self.assertIn("KerasRmsprop>Dense", self.ops_of(tf.function(step)))
        with tf.device("CPU:0"):
            compiled = tf.function(step, jit_compile=True)
            self.assertNotIn("KerasRmsprop>Dense", self.ops_of(compiled))
            compiled()

    def test_tf1_graphs_hold_only_tensorflows_ops(self):
        for wrap in (lambda f: f, tf.function):
            with tf.Graph().as_default() as graph:
                variable = tf.compat.v1.get_variable(
                    "v", initializer=tf.ones((4, 2)), use_resource=True
                )
                optimizer = RMSPropOptimizer(0.1)
                optimizer._create_slots([variable])

                def step(optimizer=optimizer, variable=variable):
                    optimizer.apply_gradients([(tf.ones((4, 2)), variable)])

                wrap(step)()
            text = str(graph.as_graph_def())
            self.assertIn("ResourceApplyRMSProp", text)
            self.assertNotIn("KerasRmsprop", text)

    def test_a_function_that_trains_is_not_saved_where_nobody_can_load_it(self):
        rule = UpdateRule.get("keras")
        module = tf.Module()
        module.variable, module.slots = variables_of(rule, 0.9, True, (4, 2))
        hyper = core.Hyperparameters(0.01, 0.9, 0.9, 1e-7).cast("float32")

        def step():
            core.apply_dense(rule, module.variable, slots, tf.ones((4, 2)), hyper)

        @tf.function(input_signature=[])
        def train():
            tf.cond(module.variable[0, 0] < 100.0, step, lambda: None)

        slots, module.train = module.slots, train
        with tempfile.TemporaryDirectory() as path:
            with self.assertRaisesRegex(KeyError, "KERAS_RMSPROP_KERNELS=off"):
                tf.saved_model.save(module, path)
            with without_native_kernels():
                module.train = tf.function(train.python_function, input_signature=[])
                tf.saved_model.save(module, path)


class LibraryTest(parameterized.TestCase):
    def found(self, directory):
        """Returns what is found in a directory, without loading it."""
        with (
            mock.patch.dict(os.environ, {library.VARIABLE: str(directory)}),
            mock.patch.object(tf, "load_op_library", side_effect=str),
        ):
            return library.find.__wrapped__()

    def setUp(self):
        super().setUp()
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = directory.name
        os.chmod(self.directory, 0o755)

    def put(self, name, mode=0o755):
        path = os.path.join(self.directory, name)
        with open(path, "wb"):
            pass
        os.chmod(path, mode)
        return path

    def test_off_leaves_kernels_aside(self):
        found = self.found("off")
        self.assertIsNone(found.ops)
        self.assertFalse(found.unexpected)
        self.assertIn("KERAS_RMSPROP_KERNELS=off", found.reason)

    def test_what_fits_is_loaded(self):
        path = self.put(library.file_name())
        self.assertEqual(self.found(self.directory).ops, path)

    def test_an_empty_directory_that_was_asked_for_is_told(self):
        found = self.found(self.directory)
        self.assertIsNone(found.ops)
        self.assertTrue(found.unexpected)
        self.assertIn("build-kernels", found.reason)

    def test_kernels_for_another_tensorflow_are_told(self):
        self.put("kernels-tensorflow-1.0.0-0123456789ab.so")
        found = self.found(self.directory)
        self.assertIsNone(found.ops)
        self.assertTrue(found.unexpected)
        self.assertIn(tf.version.VERSION, found.reason)

    @parameterized.parameters(0o775, 0o757, 0o777)
    def test_what_others_can_write_is_not_loaded(self, mode):
        self.put(library.file_name(), mode)
        found = self.found(self.directory)
        self.assertIsNone(found.ops)
        self.assertTrue(found.unexpected)
        self.assertIn("Others can write", found.reason)

    @parameterized.parameters(0o775, 0o777)
    def test_nothing_is_loaded_from_where_others_can_write(self, mode):
        self.put(library.file_name())
        os.chmod(self.directory, mode)
        self.assertIn("Others can write", self.found(self.directory).reason)

    def test_a_file_that_is_no_library_is_told(self):
        path = self.put(library.file_name())
        with mock.patch.dict(os.environ, {library.VARIABLE: self.directory}):
            found = library.find.__wrapped__()
        self.assertIsNone(found.ops)
        self.assertTrue(found.unexpected)
        self.assertIn(path, found.reason)

    def test_what_is_left_aside_is_said_once(self):
        program = (
            "import warnings, tensorflow as tf, keras_rmsprop\n"
            "with warnings.catch_warnings(record=True) as said:\n"
            "    warnings.simplefilter('always')\n"
            "    for _ in range(2):\n"
            "        v = tf.Variable(tf.ones(3))\n"
            "        o = keras_rmsprop.RMSprop(0.1)\n"
            "        o.apply([tf.ones(3)], [v])\n"
            "print([str(w.message) for w in said if 'build-kernels' in str(w.message)])"
        )
        environment = {
            **os.environ,
            library.VARIABLE: self.directory,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(done.stdout.count("are left aside"), 1, done.stderr)
