"""What every optimizer class of this project promises, whatever its API."""

import functools

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from faces import ARGUMENTS, make, named, slices, table, two_cpus

from keras_rmsprop.core import reference

_RATES = {"negative": -1.0, "zero": 0.0}


def random_gradients(steps, shape, seed=1):
    return np.random.default_rng(seed).normal(size=(steps, *shape)).astype("float32")


class NumericsTest(parameterized.TestCase):
    @parameterized.named_parameters(*named(arguments=ARGUMENTS))
    def test_a_thousand_steps_stay_with_the_float64_reference(self, face, arguments):
        gradients = random_gradients(1000, (4, 3))
        variable = table(4, 3)
        optimizer = make(face, **arguments)
        momentum = arguments.get("momentum", 0.0)
        expected = variable.numpy()
        state = reference.initial_slots(
            face.rule, expected, momentum=momentum, centered="centered" in arguments
        )
        step = tf.function(lambda g: face.apply(optimizer, [g], [variable]))
        for gradient in gradients:
            step(gradient)
            expected, state = reference.step(
                face.rule,
                expected,
                state,
                gradient,
                learning_rate=0.01,
                momentum=momentum,
                epsilon=1e-5,
            )
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-5)
        for name, values in face.slots(optimizer, variable).items():
            np.testing.assert_allclose(values, state[name], rtol=2e-5, atol=1e-5)

    @parameterized.named_parameters(*named(arguments=ARGUMENTS))
    def test_eager_and_graph_steps_give_the_same_result(self, face, arguments):
        results = []
        for wrap in (lambda f: f, tf.function):
            variable, optimizer = table(), make(face, **arguments)
            dense = wrap(lambda g: face.apply(optimizer, [g], [variable]))
            sparse = wrap(
                lambda v, i: face.apply(optimizer, [slices(v, [1, 4, 1])], [variable])
            )
            for gradient in random_gradients(20, (12, 8)):
                dense(tf.constant(gradient))
                sparse(tf.constant(gradient[:3]), 0)
            results.append(
                [variable.numpy(), *face.slots(optimizer, variable).values()]
            )
        for eager, graph in zip(*results):
            if face.rule.uses_kernels:
                np.testing.assert_array_equal(eager, graph)
            else:
                # TensorFlow's graph optimizer turns x / sqrt(y) into x * rsqrt(y), and
                # regroups products, in what shipped as well.
                np.testing.assert_allclose(eager, graph, rtol=1e-6, atol=1e-6)

    @parameterized.named_parameters(
        *named(arguments=ARGUMENTS, sparse={"dense": False, "sparse": True})
    )
    def test_steps_compiled_by_xla_agree_within_rounding(self, face, arguments, sparse):
        results = []
        for jit_compile in (False, True):
            variable, optimizer = table(), make(face, **arguments)

            @tf.function(jit_compile=jit_compile)
            def step(gradient):
                if sparse:
                    gradient = slices(gradient[:4], [7, 2, 7, 0])
                face.apply(optimizer, [gradient], [variable])

            for gradient in random_gradients(50, (12, 8)):
                step(gradient)
            results.append(
                [variable.numpy(), *face.slots(optimizer, variable).values()]
            )
        for plain, compiled in zip(*results):
            np.testing.assert_allclose(plain, compiled, rtol=1e-5, atol=1e-5)

    @parameterized.named_parameters(
        *named(
            momentum={"plain": 0.0, "momentum": 0.9},
            scale={
                "large": (1000.0, 1e-6),
                "noisy": (1000.0, 1e-3),
                "constant": (0.1, 0),
            },
            kind={"dense": "dense", "sparse": "sparse", "xla": "xla"},
        )
    )
    def test_nearly_constant_gradients_keep_centered_steps_finite(
        self, face, momentum, scale, kind
    ):
        size, noise = scale
        normal = np.random.default_rng(0).normal(size=(300, 100, 1))
        gradients = tf.constant(size * (1 + noise * normal), tf.float32)
        variable = tf.Variable(tf.ones((100, 1)))
        optimizer = make(
            face, learning_rate=0.001, momentum=momentum, centered=True, epsilon=1e-7
        )

        @tf.function(jit_compile=kind == "xla")
        def step(gradient):
            if kind == "sparse":
                gradient = slices(gradient, np.arange(100), rows=100)
            face.apply(optimizer, [gradient], [variable])

        for gradient in gradients:
            step(gradient)
        self.assertTrue(np.isfinite(variable.numpy()).all())

    @parameterized.named_parameters(
        *named(
            arguments={
                "plain": {"rho": 0.0},
                "centered_momentum": ARGUMENTS["centered_momentum"],
            },
            wrap={
                "eager": lambda step: step,
                "graph": tf.function,
                "xla": functools.partial(tf.function, jit_compile=True),
            },
        )
    )
    def test_an_element_without_a_denominator_takes_no_step(
        self, face, arguments, wrap
    ):
        # This is zero in both dtypes, and so is the square of the second gradient.
        optimizer = make(face, **arguments, epsilon=1e-50)
        tables = [table(dtype=dtype) for dtype in ("float32", "float16") * 2]
        values = [[0.0, 1e-30, 0.5, -2.0] * 2] * 12

        @wrap
        def step():
            dense = [tf.cast(values, variable.dtype) for variable in tables]
            sparse = [slices(gradient[:9], range(9)) for gradient in dense[2:]]
            face.apply(optimizer, dense[:2] + sparse, tables)

        before = [variable.numpy() for variable in tables]
        for _ in range(3):
            step()
        for old, variable in zip(before, tables):
            new = variable.numpy()
            for values in (new, *face.slots(optimizer, variable).values()):
                self.assertTrue(np.isfinite(values).all())
            self.assertTrue((new != old)[:9, [2, 3, 6, 7]].all())
            if not (face.rule.initial_mean_square and "centered" in arguments):
                np.testing.assert_array_equal(
                    new[:, [0, 1, 4, 5]], old[:, [0, 1, 4, 5]]
                )


class SparseTest(parameterized.TestCase):
    @parameterized.named_parameters(*named(arguments=ARGUMENTS))
    def test_rows_outside_the_batch_keep_values_and_accumulators(self, face, arguments):
        variable, optimizer = table(), make(face, **arguments)
        face.apply(optimizer, [tf.ones_like(variable)], [variable])
        before = [variable.numpy(), *face.slots(optimizer, variable).values()]
        for _ in range(3):
            gradient = slices(tf.ones((2, 8)), [3, 5])
            face.apply(optimizer, [gradient], [variable])
        after = [variable.numpy(), *face.slots(optimizer, variable).values()]
        others = [row for row in range(12) if row not in (3, 5)]
        for old, new in zip(before, after):
            np.testing.assert_array_equal(old[others], new[others])
        self.assertFalse(np.any(before[0][[3, 5]] == after[0][[3, 5]]))

    @parameterized.named_parameters(
        *named(arguments=ARGUMENTS, jit_compile={"plain": None, "xla": True})
    )
    def test_slices_that_share_an_index_are_summed_first(
        self, face, arguments, jit_compile
    ):
        values = random_gradients(1, (4, 8))[0]
        summed = np.stack([values[0] + values[2], values[1] + values[3]])
        results = []
        for value, index in ((values, [5, 2, 5, 2]), (summed, [5, 2])):
            variable, optimizer = table(), make(face, **arguments)

            @tf.function(jit_compile=jit_compile)
            def step():
                face.apply(optimizer, [slices(value, index)], [variable])

            for _ in range(3):
                step()
            results.append(variable.numpy())
        np.testing.assert_allclose(*results, rtol=1e-6, atol=1e-6)

    @parameterized.named_parameters(*named(arguments=ARGUMENTS))
    def test_sparse_steps_stay_with_the_float64_reference(self, face, arguments):
        rng = np.random.default_rng(3)
        variable, optimizer = table(), make(face, **arguments)
        momentum = arguments.get("momentum", 0.0)
        expected = variable.numpy()
        state = reference.initial_slots(
            face.rule, expected, momentum=momentum, centered="centered" in arguments
        )
        for _ in range(200):
            values = rng.normal(size=(6, 8)).astype("float32")
            indices = rng.integers(0, 12, 6)
            face.apply(optimizer, [slices(values, indices)], [variable])
            expected, state = reference.step(
                face.rule,
                expected,
                state,
                values,
                indices=indices,
                learning_rate=0.01,
                momentum=momentum,
                epsilon=1e-5,
            )
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-5)

    @parameterized.named_parameters(*named())
    def test_empty_slices_change_nothing(self, face):
        variable, optimizer = table(), make(face, momentum=0.9)
        face.apply(optimizer, [tf.ones_like(variable)], [variable])
        before = [variable.numpy(), *face.slots(optimizer, variable).values()]
        face.apply(optimizer, [slices(tf.zeros((0, 8)), [])], [variable])
        after = [variable.numpy(), *face.slots(optimizer, variable).values()]
        for old, new in zip(before, after):
            np.testing.assert_array_equal(old, new)

    @parameterized.named_parameters(*named())
    def test_int32_int64_and_tuple_indices_are_the_same(self, face):
        results = []
        for indices in (
            tf.constant([3, 1], tf.int32),
            tf.constant([3, 1], tf.int64),
            (3, 1),
        ):
            variable, optimizer = table(), make(face)
            gradient = tf.IndexedSlices(tf.ones((2, 8)), indices, (12, 8))
            face.apply(optimizer, [gradient], [variable])
            results.append(variable.numpy())
        np.testing.assert_array_equal(results[0], results[1])
        np.testing.assert_array_equal(results[0], results[2])


class DtypeTest(parameterized.TestCase):
    @parameterized.named_parameters(
        *named(
            arguments=ARGUMENTS,
            dtype={d: d for d in ("float16", "bfloat16", "float32", "float64")},
        )
    )
    def test_every_dtype_follows_the_reference_at_its_precision(
        self, face, arguments, dtype
    ):
        tolerance = {"float16": 0.03, "bfloat16": 0.2}.get(dtype, 1e-5)
        momentum = arguments.get("momentum", 0.0)
        variable = table(dtype=dtype)
        optimizer = make(face, **{**arguments, "epsilon": 1e-3})
        expected = tf.cast(variable, "float64").numpy()
        state = reference.initial_slots(
            face.rule, expected, momentum=momentum, centered="centered" in arguments
        )
        for gradient in random_gradients(10, (12, 8)):
            indices = np.arange(6)
            for g, rows in ((gradient, None), (gradient[:6], indices)):
                g = tf.cast(g, dtype)
                sent = g if rows is None else slices(g, rows)
                face.apply(optimizer, [sent], [variable])
                expected, state = reference.step(
                    face.rule,
                    expected,
                    state,
                    tf.cast(g, "float64").numpy(),
                    indices=rows,
                    learning_rate=0.01,
                    momentum=momentum,
                    epsilon=1e-3,
                )
        np.testing.assert_allclose(
            tf.cast(variable, "float64").numpy(), expected, rtol=0, atol=tolerance
        )


class DistributionTest(parameterized.TestCase):
    @parameterized.named_parameters(
        *named(arguments=ARGUMENTS, sparse={"dense": False, "sparse": True})
    )
    def test_two_replicas_equal_one_on_the_joint_batch(self, face, arguments, sparse):
        gradients = random_gradients(20, (2, 12, 8))

        def send(gradient):
            # Both replicas name row 7, so that the sum over replicas has duplicates.
            return slices(gradient[:3], [7, 2, 7]) if sparse else gradient

        strategy = two_cpus()
        with strategy.scope():
            mirrored, optimizer = table(), make(face, **arguments)

        @tf.function
        def replicated_step(pair):
            def step():
                replica = tf.distribute.get_replica_context()
                own = pair[tf.cast(replica.replica_id_in_sync_group, tf.int32)]
                face.apply(optimizer, [send(own)], [mirrored])

            strategy.run(step)

        variable, alone = table(), make(face, **arguments)
        # Slots cannot be created while a function of a strategy is traced.
        strategy.run(lambda: face.apply(optimizer, [tf.zeros((12, 8))], [mirrored]))
        face.apply(alone, [tf.zeros((12, 8))], [variable])
        for pair in gradients:
            replicated_step(tf.constant(pair))
            if sparse:
                joint = slices(np.concatenate([p[:3] for p in pair]), [7, 2, 7] * 2)
            else:
                joint = tf.constant(pair.sum(axis=0))
            face.apply(alone, [joint], [variable])
        for replica in strategy.experimental_local_results(mirrored):
            np.testing.assert_allclose(
                replica.numpy(), variable.numpy(), rtol=1e-5, atol=1e-5
            )


class BadInputTest(parameterized.TestCase):
    def refused(self, face, gradients, variables, message):
        """Asserts that a step is refused with a message and changed nothing."""
        optimizer = make(face, momentum=0.9, centered=True)
        face.apply(optimizer, [tf.ones_like(v) for v in variables], variables)
        before = [v.numpy() for v in variables]
        before += [s for v in variables for s in face.slots(optimizer, v).values()]
        with self.assertRaisesRegex((ValueError, TypeError), message):
            face.apply(optimizer, gradients, variables)
        after = [v.numpy() for v in variables]
        after += [s for v in variables for s in face.slots(optimizer, v).values()]
        for old, new in zip(before, after):
            np.testing.assert_array_equal(old, new)

    @parameterized.named_parameters(*named())
    def test_a_gradient_of_another_shape_is_refused(self, face):
        variables = [table(), table(3, 8)]
        wrong = [tf.ones((12, 8)), tf.ones((3, 7))]
        self.refused(face, wrong, variables, r"\(3, 8\).*\(3, 7\)")

    @parameterized.named_parameters(*named())
    def test_an_integer_gradient_is_refused(self, face):
        variables = [table(), table(3, 8)]
        wrong = [tf.ones((12, 8)), tf.ones((3, 8), tf.int32)]
        self.refused(face, wrong, variables, "int32")

    @parameterized.named_parameters(*named(index={"high": 12, "negative": -1}))
    def test_an_index_outside_the_table_is_refused(self, face, index):
        variables = [table(3, 8), table()]
        wrong = [tf.ones((3, 8)), slices(tf.ones((2, 8)), [0, index])]
        self.refused(face, wrong, variables, rf"\[0, 11\].*{index}")

    @parameterized.named_parameters(*named())
    def test_slices_with_rows_of_another_shape_are_refused(self, face):
        variables = [table(3, 8), table()]
        wrong = [tf.ones((3, 8)), slices(tf.ones((2, 7)), [0, 1])]
        self.refused(face, wrong, variables, r"\(12, 8\)")

    @parameterized.named_parameters(
        *named(
            wrong={
                "infinite_learning_rate": {"learning_rate": float("inf")},
                "nan_learning_rate": {"learning_rate": float("nan")},
                "large_rho": {"rho": 1.5},
                "nan_rho": {"rho": float("nan")},
                "negative_momentum": {"momentum": -0.1},
                "large_momentum": {"momentum": 1.1},
                "negative_epsilon": {"epsilon": -1e-7},
                "infinite_epsilon": {"epsilon": float("inf")},
            }
        )
    )
    def test_hyperparameters_out_of_range_are_refused_by_name(self, face, wrong):
        ((name, value),) = wrong.items()
        name = "decay" if name == "rho" and face.name == "tf1" else name
        with self.assertRaisesRegex(ValueError, f"`{name}`.*{value}"):
            make(face, **wrong)

    @parameterized.named_parameters(*named(arguments=ARGUMENTS, rate=_RATES))
    def test_any_finite_learning_rate_is_a_factor_of_the_step(
        self, face, arguments, rate
    ):
        # A negative one ascends, and zero moves nothing but the slots.
        moves = []
        for learning_rate in (0.01, 0.01 * rate):
            variable = table()
            optimizer = make(face, **{**arguments, "learning_rate": learning_rate})
            before = variable.numpy()
            face.apply(optimizer, [tf.ones((12, 8))], [variable])
            sparse = slices(tf.ones((2, 8)), [3, 5])
            face.apply(optimizer, [sparse], [variable])
            moves.append(variable.numpy() - before)
        np.testing.assert_allclose(moves[1], rate * moves[0], rtol=1e-5, atol=1e-6)

    @parameterized.named_parameters(*named())
    def test_unknown_arguments_are_refused(self, face):
        with self.assertRaisesRegex((TypeError, ValueError), "learning_rat"):
            make(face, learning_rat=0.1)
