"""The core's paths agree: kernels, ordinary ops, one compiled program."""

import contextlib
import time
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

import compat_v1
import keras_rmsprop
from keras_rmsprop import core
from keras_rmsprop.core import (
    compiled,
    duplicates,
    formula,
    ordinary,
    raw_kernels,
    steps,
)
from keras_rmsprop.core.native import steps as native
from keras_rmsprop.core.raw_kernels import has_kernel
from keras_rmsprop.update_rule import RULES, UpdateRule

DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")


def state(rule, momentum, centered, shape=(11, 8), dtype="float32", seed=0):
    values = np.random.default_rng(seed).normal(size=shape)

    def filled(value):
        return tf.Variable(tf.fill(shape, tf.cast(value, dtype)))

    slots = core.Slots(
        rms=filled(rule.initial_mean_square),
        mg=filled(0) if centered else None,
        momentum=filled(0) if rule.has_momentum_slot(momentum) else None,
    )
    return tf.Variable(tf.cast(values, dtype)), slots


def trajectory(rule, momentum, centered, dtype="float32", indexed=False, steps=60):
    """Returns variable and slots after some steps, as arrays."""
    variable, slots = state(rule, momentum, centered, dtype=dtype)
    epsilon = 1e-3 if variable.dtype.size < 4 else 1e-7
    hyper = core.Hyperparameters(0.01, 0.9, momentum, epsilon).cast(variable.dtype)
    rng = np.random.default_rng(1)
    for _ in range(steps):
        gradient = tf.cast(rng.normal(size=(11, 8)), dtype)
        if indexed:
            rows = tf.constant(rng.permutation(11)[:4])
            core.apply_sparse(rule, variable, slots, gradient[:4], rows, hyper)
        else:
            core.apply_dense(rule, variable, slots, gradient, hyper)
    return [value.numpy() for value in (variable, *slots) if value is not None]


def without_native_kernels():
    return mock.patch.object(native, "_take", lambda _: False)


@contextlib.contextmanager
def by_ordinary_ops():
    with (
        without_native_kernels(),
        mock.patch.object(raw_kernels, "op_for", lambda *_: None),
    ):
        yield


class PathsTest(parameterized.TestCase):
    @parameterized.product(
        rule=tuple(RULES),
        momentum=(0.0, 0.9),
        dtype=("float32", "float64", "complex64"),
    )
    def test_the_step_by_one_array_at_a_time_is_the_same(self, rule, momentum, dtype):
        rule = UpdateRule.get(rule)
        rounding = formula.rounding_of(rule, momentum > 0, formula.DENSE_KERNEL)
        arguments = ordinary.OPERATIONS, rounding
        hyper = core.Hyperparameters(0.01, 0.9, momentum, 1e-7).cast(
            tf.dtypes.as_dtype(dtype)
        )
        rng = np.random.default_rng(0)
        shape = (64, 8)
        former = core.Slots(
            rms=tf.ones(shape, dtype),
            mg=tf.zeros(shape, dtype),
            momentum=tf.zeros(shape, dtype) if momentum else None,
        )
        # Gradients that hardly change leave no variance after a while.
        both = [(former, tf.zeros(shape, dtype))] * 2
        rested = 0

        @tf.function
        def steps(gradient, both):
            (slots, variable), (again, same) = both
            counted = formula.counted(*arguments, slots, gradient, hyper, True)[1]
            return counted, (
                formula.update(*arguments, slots, gradient, hyper, True, variable),
                formula.update_by_one(
                    *arguments, again, gradient, hyper, True, same, ordinary._after
                ),
            )

        for _ in range(300):
            gradient = 1000 * (1 + 1e-6 * rng.normal(size=shape))
            counted, both = steps(tf.cast(gradient, dtype), both)
            if counted is not None:
                rested += np.count_nonzero(counted)
        self.assertTrue(rested or dtype != "float32")
        for a, b in zip(*map(tf.nest.flatten, both)):
            if a is not None:
                np.testing.assert_array_equal(a, b)

    @parameterized.product(rule=tuple(RULES), momentum=(0.0, 0.9))
    def test_xla_copies_no_array_for_a_centered_step(self, rule, momentum):
        rule = UpdateRule.get(rule)
        hyper = core.Hyperparameters(0.01, 0.9, momentum, 1e-7).cast("float32")
        with tf.device("CPU:0"):
            variable, slots = state(rule, momentum, True, shape=(1 << 12,))
        gradient = tf.ones(1 << 12)

        @tf.function(jit_compile=True)
        def step(gradient):
            core.apply_dense(rule, variable, slots, gradient, hyper)

        program = step.experimental_get_compiler_ir(gradient)(stage="optimized_hlo")
        self.assertIn("f32[4096]", program)
        self.assertNotRegex(program, r"f32\[4096\]\S* copy\(")
        before = variable.numpy()
        step(gradient)
        self.assertTrue((variable.numpy() < before).all())

    @parameterized.product(
        rule=("legacy", "tf1"),
        momentum=(0.0, 0.9),
        centered=(False, True),
        dtype=DTYPES,
    )
    def test_ordinary_ops_give_the_bits_of_the_dense_kernels(
        self, rule, momentum, centered, dtype
    ):
        arguments = (UpdateRule.get(rule), momentum, centered, dtype)
        with without_native_kernels():
            by_kernel = trajectory(*arguments)
        with by_ordinary_ops():
            by_ops = trajectory(*arguments)
        for a, b in zip(by_kernel, by_ops):
            np.testing.assert_array_equal(a, b)

    @parameterized.product(
        rule=("legacy", "tf1"),
        centered=(False, True),
        dtype=("float16", "float32", "float64"),
    )
    def test_ordinary_ops_follow_the_sparse_kernels(self, rule, centered, dtype):
        arguments = (UpdateRule.get(rule), 0.9, centered, dtype, True)
        with without_native_kernels():
            by_kernel = trajectory(*arguments)
        with by_ordinary_ops():
            by_ops = trajectory(*arguments)
        precision = np.finfo(dtype).eps
        for a, b in zip(by_kernel, by_ops):
            if dtype == "float64":
                np.testing.assert_array_equal(a, b)
            np.testing.assert_allclose(a, b, rtol=20 * precision, atol=20 * precision)

    @parameterized.product(rule=tuple(RULES), momentum=(0.0, 0.9))
    def test_bfloat16_slices_take_the_path_without_a_kernel(self, rule, momentum):
        trajectory(UpdateRule.get(rule), momentum, False, "bfloat16", indexed=True)

    @parameterized.product(momentum=(0.0, 0.9), centered=(False, True))
    def test_one_compiled_program_follows_the_step_per_variable(
        self, momentum, centered
    ):
        rule = UpdateRule.get("keras")
        hyper = core.Hyperparameters(0.01, 0.9, momentum, 1e-7, 1 - 0.9)
        gradients = np.random.default_rng(1).normal(size=(50, 2, 11, 8))
        results = []
        for threshold in (0, 1 << 40):
            states = [state(rule, momentum, centered, seed=i) for i in range(2)]
            together = core.Together()
            with (
                without_native_kernels(),
                mock.patch.object(compiled, "MINIMUM_ELEMENTS", threshold),
                mock.patch.object(compiled, "LARGE_ELEMENTS", threshold),
            ):
                for pair in gradients.astype("float32"):
                    given = list(map(tf.constant, pair))
                    slots = {id(variable): held for variable, held in states}
                    variables = [variable for variable, _ in states]
                    together.apply(
                        rule, variables, lambda v: slots[id(v)], given, hyper
                    )
            results.append([v.numpy() for v, _ in states])
        np.testing.assert_allclose(*results, rtol=2e-6, atol=1e-6)

    @parameterized.product(
        momentum=(0.0, 0.9), centered=(False, True), large=(False, True)
    )
    def test_a_kept_graph_follows_the_steps_one_by_one(self, momentum, centered, large):
        rule = UpdateRule.get("keras")
        rate = tf.constant(0.01)
        hypers = (
            core.Hyperparameters(0.01, 0.9, momentum, 1e-7, 1 - 0.9),
            core.Hyperparameters(0.1, 0.8, momentum, 1e-7, 1 - 0.8),  # Same kinds.
            core.Hyperparameters(rate, 0.9, momentum, 1e-7, 1 - 0.9),
            core.Hyperparameters(rate, tf.Variable(0.9), momentum, 1e-7),
            core.Hyperparameters(rate, 0.9, momentum, 0.0),
            core.Hyperparameters(tf.constant(0.01, tf.float64), 0.9, momentum, 0.0),
            core.Hyperparameters(0.01, 0.9, momentum, 1e-7, 1 - 0.9),
        )
        gradients = np.random.default_rng(1).normal(size=(2, 11, 8)).astype("float32")
        given = list(map(tf.constant, gradients))
        results = []
        with (
            without_native_kernels(),
            mock.patch.object(compiled, "pays", lambda *_: large),
            mock.patch.dict(steps._GRAPHS, clear=True),
            mock.patch.object(
                steps, "apply_dense", side_effect=core.apply_dense
            ) as taken,
        ):
            for kept in (True, False):
                states = [state(rule, momentum, centered, seed=i) for i in range(2)]
                step = steps._prepared(rule, *map(list, zip(*states)), kept, False)
                taken.reset_mock()
                for hyper in hypers:
                    step(given, hyper)
                # Two variables; five kinds of hyperparameters, or seven steps.
                self.assertEqual(taken.call_count, 2 * (5 if kept else 7))
                slots = [v for _, held in states for v in held if v is not None]
                results.append([v.numpy() for v in (*(v for v, _ in states), *slots)])
        for one, other in zip(*results):
            np.testing.assert_allclose(one, other, rtol=2e-6, atol=1e-6)

    def test_there_is_an_end_to_shared_graphs(self):
        rule = UpdateRule.get("keras")
        hyper = core.Hyperparameters(0.01, 0.9, 0.9, 1e-7, 1 - 0.9)
        with (
            without_native_kernels(),
            mock.patch.dict(steps._GRAPHS, clear=True),
            mock.patch.object(steps, "_MAXIMUM_GRAPHS", 2),
        ):
            results = []
            for rows in (3, 4, 5, 3):
                pairs = [state(rule, 0.9, False, (rows, 2))]
                step = steps._prepared(rule, *map(list, zip(*pairs)), True, False)
                for _ in range(2):
                    step([tf.ones([rows, 2])], hyper)
                results.append(
                    pairs[0][0].numpy() - state(rule, 0, False, (rows, 2))[0]
                )
            self.assertLen(steps._GRAPHS, 2)
        for result in results:
            np.testing.assert_allclose(result, np.full_like(result, result[0, 0]), 1e-4)

    def test_variables_of_the_same_kinds_share_a_graph(self):
        rule = UpdateRule.get("keras")
        hyper = core.Hyperparameters(0.01, 0.9, 0.9, 1e-7, 1 - 0.9)
        results = []
        with without_native_kernels(), mock.patch.dict(steps._GRAPHS, clear=True):
            for seed in (0, 0, 1):
                pairs = [state(rule, 0.9, False, seed=seed + i) for i in range(2)]
                step = steps._prepared(rule, *map(list, zip(*pairs)), True, False)
                for _ in range(2):
                    step([tf.ones([11, 8]), -tf.ones([11, 8])], hyper)
                results.append([variable.numpy() for variable, _ in pairs])
            self.assertLen(steps._GRAPHS, 1)
        np.testing.assert_array_equal(results[0], results[1])
        self.assertFalse(np.array_equal(results[0], results[2]))

    def test_a_kept_graph_updates_variables_of_any_cpu(self):
        rule = UpdateRule.get("tf1")
        hyper = core.Hyperparameters(0.01, 0.9, 0.9, 1e-7)
        results = []
        for devices in (("CPU:0", "CPU:1"), ("CPU:1", "CPU:1"), ("CPU:0", "CPU:0")):
            states = []
            for seed, device in enumerate(devices):
                with tf.device(device):
                    states.append(state(rule, 0.9, False, seed=seed))
            with without_native_kernels():
                step = steps._prepared(rule, *map(list, zip(*states)), True, True)
                for _ in range(3):
                    step([tf.ones([11, 8]), -tf.ones([11, 8])], hyper)
            results.append([variable.numpy() for variable, _ in states])
        np.testing.assert_array_equal(results[0], results[1])
        np.testing.assert_array_equal(results[0], results[2])

    @parameterized.product(
        momentum=(0.0, 0.9), apply=(core.apply_sparse, core.apply_sparse_as_dense)
    )
    def test_what_was_read_before_a_step_stays_as_it_was(self, momentum, apply):
        rule = UpdateRule.get("keras")
        variable, slots = state(rule, momentum, False)
        hyper = core.Hyperparameters(0.01, 0.9, momentum, 1e-7).cast(tf.float32)
        rows = tf.ones([2, *variable.shape[1:]])

        def step():
            update = apply(rule, variable, slots, rows, tf.constant([0, 2]), hyper)
            core.share_reads(variable, update)

        for take in (step, tf.function(step)):
            for _ in range(2):
                read = variable.read_value()
                before = np.array(read)
                take()
                np.testing.assert_array_equal(read, before)
                self.assertFalse(np.array_equal(variable, before))

    @parameterized.product(momentum=(0.0, 0.9))
    def test_a_table_that_the_model_reads_whole_is_not_copied(self, momentum):
        rows, width = 1_000_000, 16
        rule = UpdateRule.get("keras")
        table = tf.Variable(tf.zeros([rows, width]))
        slots = core.Slots(
            tf.Variable(tf.zeros_like(table)),
            momentum=tf.Variable(tf.zeros_like(table)) if momentum else None,
        )
        hyper = core.Hyperparameters(0.01, 0.9, momentum, 1e-7)
        indices = tf.range(0, rows, rows // 100)

        @tf.function
        def step():
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.gather(table.value(), indices) ** 2)
            gradient = tape.gradient(loss, table)
            cast = hyper.cast(tf.float32)
            core.share_reads(
                table,
                core.apply_sparse(
                    rule, table, slots, gradient.values, gradient.indices, cast
                ),
            )

        def fastest(function):
            function()
            times = []
            for _ in range(20):
                start = time.perf_counter()
                function()
                times.append(time.perf_counter() - start)
            return min(times)

        copying = fastest(tf.function(lambda: table.read_value() + 1.0))
        self.assertLess(fastest(step), copying / 4)

    @parameterized.product(
        rule=tuple(RULES), momentum=(0.0, 0.9), centered=(False, True), dtype=DTYPES
    )
    def test_rows_that_decay_without_a_denominator_take_no_step(
        self, rule, momentum, centered, dtype
    ):
        rule = UpdateRule.get(rule)
        variable, slots = state(rule, momentum, centered, dtype=dtype)
        hyper = core.Hyperparameters(0.01, 0.0, momentum, 0.0).cast(variable.dtype)
        before = variable.numpy()
        gradient = tf.constant([[0.0], [2.0]]) * tf.ones(8)
        core.apply_sparse_as_dense(
            rule,
            variable,
            slots,
            tf.cast(gradient, variable.dtype),
            tf.constant([3, 5]),
            hyper,
        )
        after = variable.numpy()
        np.testing.assert_array_equal(np.delete(before, 5, 0), np.delete(after, 5, 0))
        if not centered:
            self.assertTrue((before[5] != after[5]).all())

    def test_without_momentum_the_keras_rule_keeps_no_momentum_slot(self):
        _, slots = state(UpdateRule.get("keras"), 0.0, False)
        self.assertIsNone(slots.momentum)


class KernelsTest(parameterized.TestCase):
    def test_the_registry_knows_the_gaps(self):
        sparse_op = "ResourceSparseApplyRMSProp"
        self.assertTrue(has_kernel(sparse_op, "CPU", tf.float32, tf.int64))
        self.assertFalse(has_kernel(sparse_op, "CPU", tf.bfloat16, tf.int64))
        self.assertFalse(has_kernel(sparse_op, "GPU", tf.float32, tf.int64))
        self.assertFalse(has_kernel("ResourceApplyRMSProp", "GPU", tf.bfloat16))

    @parameterized.product(centered=(False, True), indexed=(False, True))
    def test_each_kernel_runs_where_it_exists(self, centered, indexed):
        with (
            without_native_kernels(),
            mock.patch.object(raw_kernels, "apply", wraps=raw_kernels.apply) as apply,
        ):
            trajectory(UpdateRule.get("tf1"), 0.9, centered, indexed=indexed, steps=1)
        self.assertEqual(
            apply.call_args.args[0],
            f"Resource{'Sparse' if indexed else ''}Apply"
            f"{'Centered' if centered else ''}RMSProp",
        )


class SumDuplicatesTest(parameterized.TestCase):
    @settings(max_examples=30, deadline=None)
    @given(indices=st.lists(st.integers(0, 6), max_size=12), compiled=st.booleans())
    def test_sums_are_those_of_the_dense_tensor(self, indices, compiled):
        values = np.random.default_rng(0).normal(size=(len(indices), 3))
        expected = np.zeros((7, 3))
        np.add.at(expected, np.array(indices, int), values)
        summed, distinct = duplicates.sum_duplicates(
            tf.constant(values), tf.constant(indices, tf.int64), 7, compiled
        )
        actual = np.zeros((8, 3))  # One row more, for freed places.
        actual[distinct.numpy()] = summed.numpy()
        np.testing.assert_allclose(actual[:7], expected, rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(actual[7], 0)
        kept = distinct.numpy()[distinct.numpy() < 7]
        self.assertEqual(sorted(kept), sorted(set(indices)))

    def test_graphs_of_tf1_sum_as_xla_does(self):
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            summed, distinct = session.run(
                duplicates.sum_duplicates(
                    tf.constant([[1.0], [2.0], [4.0]]), tf.constant([3, 1, 3]), 5, True
                )
            )
        self.assertEqual(summed.tolist(), [[2.0], [5.0], [0.0]])
        self.assertEqual(distinct.tolist(), [1, 3, 5])


@parameterized.product(
    face=(keras_rmsprop.legacy.RMSprop, compat_v1.train.RMSPropOptimizer),
    momentum=(0.0, 0.9),
    native=(False, True),
)
class EagerFacesTest(parameterized.TestCase):
    def kernels(self, native):
        return contextlib.nullcontext() if native else without_native_kernels()

    def test_a_variable_given_twice_takes_both_steps_in_order(
        self, face, momentum, native
    ):
        ones = tf.ones([3, 2])
        slices = tf.IndexedSlices(tf.ones([1, 2]) * 5, tf.constant([1]), ones.shape)
        for pair in ((ones, -3 * ones), (ones, slices), (slices, ones)):
            results = []
            for at_once in (True, False):
                variables = [tf.Variable(ones), tf.Variable(-ones)]
                legacy = face is keras_rmsprop.legacy.RMSprop
                chosen = {"sparse_updates": "lazy"} if legacy else {}
                optimizer = face(0.1, momentum=momentum, **chosen)
                pairs = [(gradient, variables[0]) for gradient in pair]
                with self.kernels(native):
                    for _ in range(2):
                        for each in [pairs] if at_once else [[p] for p in pairs]:
                            optimizer.apply_gradients(each)
                        optimizer.apply_gradients([(ones, variables[1])])
                results.append([variable.numpy() for variable in variables])
            np.testing.assert_array_equal(*results)

    def test_variables_of_several_cpus_and_of_replicas_are_updated(
        self, face, momentum, native
    ):
        def variables():
            yield [tf.Variable([1.0, 2.0]), tf.Variable([3.0])]
            with tf.device("CPU:1"):
                other = tf.Variable([3.0])
            yield [tf.Variable([1.0, 2.0]), other]
            if face is compat_v1.train.RMSPropOptimizer:  # The other refuses them.
                with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
                    replicas = [tf.Variable([1.0, 2.0]), tf.Variable([3.0])]
                yield replicas

        # Graphs that are shared do not depend on whose come first.
        for order in (list, lambda kinds: reversed(list(kinds))):
            results = []
            with self.kernels(native), mock.patch.dict(steps._GRAPHS, clear=True):
                for held in order(variables()):
                    optimizer = face(0.1, momentum=momentum)
                    for _ in range(3):
                        pairs = zip(
                            [tf.constant([1.0, -1.0]), tf.constant([2.0])], held
                        )
                        optimizer.apply_gradients(pairs)
                    results.append(np.concatenate([v.numpy() for v in held]))
            for result in results[1:]:
                np.testing.assert_array_equal(results[0], result)
