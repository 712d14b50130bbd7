"""Finite gradients keep variables finite, and steps happen whole or not at all."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from tf1_training import CLASSES, graph_session, tf1

from compat_v1.train import RMSPropOptimizer


def nearly_constant(scale, noise, steps, seed=0):
    rng = np.random.default_rng(seed)
    base = scale * rng.standard_normal(1000)
    for _ in range(steps):
        jitter = 1 + noise * rng.standard_normal(1000)
        yield (base * jitter).astype(np.float32)


def trained(label, gradients, use_resource=True, sparse=False):
    with graph_session() as session:
        fed = tf1.placeholder(tf.float32, (1000,))
        variable = tf1.get_variable(
            "v", initializer=np.ones(1000, np.float32), use_resource=use_resource
        )
        gradient = tf.IndexedSlices(fed, tf.range(1000)) if sparse else fed
        optimizer = CLASSES[label](0.01, centered=True)
        step = optimizer.apply_gradients([(gradient, variable)])
        session.run(tf1.global_variables_initializer())
        for value in gradients:
            session.run(step, {fed: value})
        return session.run(tf1.global_variables())


class RobustnessTest(parameterized.TestCase):
    @parameterized.product(
        noise=(1e-6, 1e-3), use_resource=(False, True), sparse=(False, True)
    )
    def test_nearly_constant_gradients_stay_finite(self, noise, use_resource, sparse):
        gradients = list(nearly_constant(1000.0, noise, 300))
        state = trained("ours", gradients, use_resource, sparse)
        self.assertTrue(np.all(np.isfinite(state)))
        if noise == 1e-6:
            shipped = trained("shipped", gradients, use_resource, sparse)
            self.assertFalse(np.all(np.isfinite(shipped[0])))

    def test_a_constant_gradient_stays_finite_eagerly(self):
        variable = tf.Variable(tf.ones(8))
        optimizer = CLASSES["ours"](0.01, centered=True, epsilon=0.0)
        for _ in range(400):
            optimizer.apply_gradients([(tf.fill([8], 0.1), variable)])
        self.assertTrue(np.all(np.isfinite(variable)))

    @parameterized.parameters(False, True)
    def test_a_gradient_that_is_not_a_number_still_shows(self, centered):
        variable = tf.Variable([1.0, 1.0])
        optimizer = CLASSES["ours"](0.01, centered=centered)
        optimizer.apply_gradients([(tf.constant([np.nan, 1.0]), variable)])
        self.assertEqual(np.isnan(variable).tolist(), [True, False])


class AtomicStepsTest(parameterized.TestCase):
    """What fits only when it runs fails before any variable has moved."""

    def _gradients(self, wrong):
        good = [
            np.ones((4, 2), "float32"),
            np.ones((2, 2), "float32"),
            np.array([0, 3]),
        ]
        bad = {
            "dense": [np.ones((1, 2), "float32"), *good[1:]],
            "index": [*good[:2], np.array([0, 4])],
            "negative": [*good[:2], np.array([0, -1])],
            "values": [good[0], np.ones((3, 2), "float32"), good[2]],
        }
        return good, bad[wrong]

    @parameterized.product(
        wrong=["dense", "index", "negative", "values"],
        centered=[False, True],
        use_resource=[False, True],
    )
    def test_in_a_session(self, wrong, centered, use_resource):
        good, bad = self._gradients(wrong)
        with tf.Graph().as_default(), tf1.Session() as session:
            trained = [
                tf1.get_variable(name, (4, 2), use_resource=use_resource)
                for name in "abc"
            ]
            feeds = [
                tf1.placeholder(tf.float32, (None, 2)),
                tf1.placeholder(tf.float32, (None, 2)),
                tf1.placeholder(tf.int64, (None,)),
            ]
            optimizer = RMSPropOptimizer(0.1, momentum=0.5, centered=centered)
            count = tf1.train.create_global_step()
            step = optimizer.apply_gradients(
                [
                    (tf.ones((4, 2)), trained[0]),
                    (feeds[0], trained[1]),
                    (tf.IndexedSlices(feeds[1], feeds[2]), trained[2]),
                ],
                global_step=count,
            )
            session.run(tf1.global_variables_initializer())
            everything = [*tf1.global_variables(), *optimizer.variables()]
            before = session.run(everything)
            with self.assertRaises(tf.errors.InvalidArgumentError):
                session.run(step, dict(zip(feeds, bad)))
            for got, expected in zip(session.run(everything), before):
                np.testing.assert_array_equal(got, expected)
            session.run(step, dict(zip(feeds, good)))
            self.assertEqual(session.run(count), 1)

    @parameterized.parameters("dense", "index", "negative", "values")
    def test_in_a_compiled_function(self, wrong):
        good, bad = self._gradients(wrong)
        trained = [tf.Variable(tf.ones((4, 2))) for _ in range(3)]
        optimizer = RMSPropOptimizer(0.1)
        unknown = tf.TensorSpec((None, 2))

        @tf.function(
            input_signature=[unknown, unknown, tf.TensorSpec([None], tf.int64)]
        )
        def step(dense, values, indices):
            optimizer.apply_gradients(
                [
                    (tf.ones((4, 2)), trained[0]),
                    (dense, trained[1]),
                    (tf.IndexedSlices(values, indices), trained[2]),
                ]
            )

        with self.assertRaises(tf.errors.InvalidArgumentError):
            step(*bad)
        for variable in trained:
            np.testing.assert_array_equal(variable, np.ones((4, 2)))
        step(*good)
        self.assertLess(float(trained[0][0, 0]), 1.0)

    def test_a_lone_sparse_gradient_fails_in_its_operation_before_it_writes(self):
        variable = tf.Variable(tf.ones((4, 2)))
        optimizer = RMSPropOptimizer(0.1)

        @tf.function
        def step(indices):
            optimizer.apply_gradients(
                [(tf.IndexedSlices(tf.ones((2, 2)), indices), variable)]
            )

        with self.assertRaises(tf.errors.InvalidArgumentError):
            step(tf.constant([0, 4]))
        np.testing.assert_array_equal(variable, np.ones((4, 2)))

    def test_eager_steps_of_partly_unknown_shapes(self):
        trained = [tf.Variable(tf.ones((4, 2)), shape=[None, 2]) for _ in range(2)]
        wrong = [tf.ones((5, 2)), tf.IndexedSlices(tf.ones((1, 2)), tf.constant([4]))]
        for gradient in wrong:
            with self.assertRaisesRegex(ValueError, "gradient of variable"):
                RMSPropOptimizer(0.1).apply_gradients(
                    [(tf.ones((4, 2)), trained[0]), (gradient, trained[1])]
                )
        np.testing.assert_array_equal(trained[0], np.ones((4, 2)))
