"""Bad input gets a clear error, and nothing has changed."""

import contextlib

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from tf1_training import graph_session, tf1

from compat_v1.train import RMSPropOptimizer

BAD = {
    "learning_rate": (float("nan"), float("inf"), None, "fast", [0.1, 0.2]),
    "decay": (-0.1, 1.1, float("nan"), None),
    "momentum": (-0.1, 1.1, float("nan"), np.array([0.9])),
    "epsilon": (-1e-7, float("nan"), np.float32("inf")),
}
BAD_PAIRS = [(name, value) for name, values in BAD.items() for value in values]


def arguments(name, value):
    return {"learning_rate": 0.1, name: value}


class HyperparameterTest(parameterized.TestCase):
    @parameterized.parameters(*BAD_PAIRS)
    def test_constructor_refuses_values_out_of_range(self, name, value):
        with self.assertRaisesRegex(ValueError, f"`{name}` must be .* Received"):
            RMSPropOptimizer(**arguments(name, value))

    @parameterized.parameters(
        ("learning_rate", float("inf")), ("decay", 1.5), ("momentum", float("nan"))
    )
    def test_constructor_refuses_constant_tensors_out_of_range(self, name, value):
        with self.assertRaisesRegex(ValueError, f"`{name}` must be"):
            RMSPropOptimizer(**arguments(name, tf.constant(value)))
        with tf.Graph().as_default():
            with self.assertRaisesRegex(ValueError, f"`{name}` must be"):
                RMSPropOptimizer(**arguments(name, tf.constant(value)))
            with self.assertRaisesRegex(ValueError, f"`{name}` must be"):
                RMSPropOptimizer(**arguments(name, tf1.placeholder(tf.float32, (2,))))

    @parameterized.parameters(*BAD_PAIRS)
    def test_a_callable_out_of_range_changes_nothing(self, name, value):
        variable = tf.Variable([1.0, 2.0])
        optimizer = RMSPropOptimizer(**arguments(name, lambda: value))
        with self.assertRaisesRegex(ValueError, f"`{name}` must be"):
            optimizer.apply_gradients([(tf.ones(2), variable)])
        self.assertEqual(variable.numpy().tolist(), [1.0, 2.0])
        self.assertEmpty(optimizer.variables())

    @parameterized.parameters(
        ("learning_rate", 0),
        ("learning_rate", -0.01),
        ("learning_rate", np.float16(0.5)),
        ("learning_rate", tf.bfloat16.as_numpy_dtype(0.5)),
        ("decay", 0.0),
        ("decay", 1),
        ("momentum", 1.0),
        ("epsilon", 0.0),
    )
    def test_ends_of_the_ranges_and_other_number_types_are_allowed(self, name, value):
        variable = tf.Variable([1.0, 2.0])
        RMSPropOptimizer(**arguments(name, value)).apply_gradients(
            [(tf.ones(2), variable)]
        )
        self.assertTrue(np.all(np.isfinite(variable)))

    def test_unknown_arguments_and_empty_names_are_refused(self):
        with self.assertRaisesRegex(TypeError, "rho"):
            RMSPropOptimizer(0.1, rho=0.9)
        with self.assertRaisesRegex(TypeError, "learning_rate"):
            RMSPropOptimizer()
        with self.assertRaisesRegex(ValueError, "name"):
            RMSPropOptimizer(0.1, name="")


def slices(values, indices):
    return tf.IndexedSlices(tf.constant(values), tf.constant(indices))


BAD_GRADIENTS = {
    "shape": (lambda: tf.ones((2, 3)), ValueError, r"shape \(3, 2\).*\(2, 3\)"),
    "rank": (lambda: tf.ones(3), ValueError, r"shape \(3, 2\).*\(3,\)"),
    "dtype": (lambda: tf.ones((3, 2), tf.float64), ValueError, "float32.*float64"),
    "type": (lambda: "steep", ValueError, "dtype string"),
    "object": (lambda: object(), TypeError, "'second:0' must be a tensor"),
    "index too large": (
        lambda: slices([[1.0, 1.0]], [3]),
        ValueError,
        r"\[0, 2\].*\[3\]",
    ),
    "negative index": (lambda: slices([[1.0, 1.0]], [-1]), ValueError, r"\[-1\]"),
    "index count": (
        lambda: slices([[1.0, 1.0]], [0, 1]),
        ValueError,
        r"\(2,\) indices and values of shape \(1, 2\)",
    ),
    "index rank": (lambda: slices([[[1.0, 1.0]]], [[0]]), ValueError, r"\(1, 1\)"),
    "row width": (lambda: slices([[1.0, 1.0, 1.0]], [0]), ValueError, r"\(3, 2\)"),
    "row dtype": (
        lambda: slices(np.ones((1, 2)), [0]),
        ValueError,
        "float32.*float64",
    ),
}


class GradientTest(parameterized.TestCase):
    @parameterized.parameters(*BAD_GRADIENTS)
    def test_a_gradient_that_does_not_fit_changes_no_variable(self, case):
        make, error, message = BAD_GRADIENTS[case]
        first, second = (
            tf.Variable(tf.ones((3, 2)), name=name) for name in ("first", "second")
        )
        optimizer = RMSPropOptimizer(0.1)
        optimizer.apply_gradients([(tf.ones((3, 2)), v) for v in (first, second)])
        before = [v.numpy() for v in (first, second, *optimizer.variables())]
        with self.assertRaisesRegex(error, f"(?s){message}"):
            optimizer.apply_gradients([(tf.ones((3, 2)), first), (make(), second)])
        after = [v.numpy() for v in (first, second, *optimizer.variables())]
        np.testing.assert_array_equal(after, before)

    @parameterized.product(
        case=[name for name in BAD_GRADIENTS if name != "object"],
        use_resource=(False, True),
    )
    def test_a_gradient_that_does_not_fit_adds_no_slot_to_a_graph(
        self, case, use_resource
    ):
        make, error, _ = BAD_GRADIENTS[case]
        with tf.Graph().as_default():
            variable = tf1.get_variable("v", (3, 2), use_resource=use_resource)
            with self.assertRaises(error):
                RMSPropOptimizer(0.1).apply_gradients([(make(), variable)])
            self.assertLen(tf1.global_variables(), 1)

    def test_sparse_gradients_of_scalars_and_of_constrained_variables_are_refused(self):
        constrained = tf.Variable([1.0, 2.0], constraint=tf.abs)
        plain = tf.Variable([1.0, 2.0])
        optimizer = RMSPropOptimizer(0.1)
        with self.assertRaisesRegex(RuntimeError, "constraint"):
            optimizer.apply_gradients(
                [(tf.ones(2), plain), (slices([1.0], [0]), constrained)]
            )
        with self.assertRaisesRegex(ValueError, "IndexedSlices"):
            optimizer.apply_gradients(
                [(tf.ones(2), plain), (slices([1.0], [0]), tf.Variable(1.0))]
            )
        self.assertEqual(plain.numpy().tolist(), [1.0, 2.0])
        self.assertEmpty(optimizer.variables())

    @parameterized.product(use_resource=(False, True), centered=(False, True))
    def test_indices_out_of_range_in_a_graph_leave_variable_and_slots(
        self, use_resource, centered
    ):
        with graph_session() as session:
            variable = tf1.get_variable("v", (3, 2), use_resource=use_resource)
            indices = tf1.placeholder(tf.int32, (2,))
            optimizer = RMSPropOptimizer(0.1, centered=centered)
            step = optimizer.apply_gradients(
                [(tf.IndexedSlices(tf.ones((2, 2)), indices), variable)]
            )
            session.run(tf1.global_variables_initializer())
            before = session.run(tf1.global_variables())
            with self.assertRaisesRegex(tf.errors.InvalidArgumentError, "7"):
                session.run(step, {indices: [0, 7]})
            after = session.run(tf1.global_variables())
        np.testing.assert_array_equal(after, before)

    @parameterized.parameters([[1, 2]], [[(1, 2, 3)]], [["ab"]])
    def test_grads_and_vars_has_to_hold_pairs(self, pairs):
        with self.assertRaisesRegex(TypeError, "pair"):
            RMSPropOptimizer(0.1).apply_gradients(pairs)

    def test_no_gradient_at_all_is_refused(self):
        variable = tf.Variable(1.0)
        optimizer = RMSPropOptimizer(0.1)
        for pairs in ([], [(None, variable)]):
            with self.assertRaisesRegex(
                ValueError, "No (variables|gradients) provided"
            ):
                optimizer.apply_gradients(pairs)
        with tf.Graph().as_default():
            used, unused = tf1.get_variable("a", ()), tf1.get_variable("b", ())
            with self.assertRaisesRegex(ValueError, "No gradients provided"):
                optimizer.minimize(used**2, var_list=[unused])
            self.assertLen(tf1.global_variables(), 2)
        self.assertEmpty(optimizer.variables())

    def test_integer_variables_are_refused(self):
        counter = tf.Variable([1, 2])
        with self.assertRaisesRegex(ValueError, "floating or complex"):
            RMSPropOptimizer(0.1).apply_gradients([(tf.constant([1, 1]), counter)])


class VariableTest(parameterized.TestCase):
    def test_var_list_of_anything_but_variables_is_refused(self):
        optimizer = RMSPropOptimizer(0.1)
        for graph in (True, False):
            scope = tf.Graph().as_default() if graph else contextlib.nullcontext()
            with scope:
                tensor = tf.constant(2.0)
                loss = tensor**2 if graph else lambda: tensor**2  # noqa: B023
                for wrong in ("weights", 3, object()):
                    with self.assertRaisesRegex(TypeError, "var_list"):
                        optimizer.compute_gradients(loss, [wrong])
                    with self.assertRaisesRegex(ValueError, "var_list"):
                        optimizer.minimize(loss, var_list=[wrong])
                    with self.assertRaisesRegex(TypeError, "tf.Variable"):
                        optimizer.apply_gradients([(tensor, wrong)])
                # As in TensorFlow, a tensor has gradients but takes no update.
                [(gradient, _)] = optimizer.compute_gradients(loss, [tensor])
                self.assertIsNotNone(gradient)
                with self.assertRaisesRegex(ValueError, "var_list"):
                    optimizer.minimize(loss, var_list=[tensor])
                # In the words of TensorFlow's class in a graph.
                with self.assertRaisesRegex(NotImplementedError, "tf.Variable"):
                    optimizer.apply_gradients([(gradient, tensor)])
                self.assertEmpty(tf1.global_variables())

    def test_a_partitioned_variable_is_asked_for_its_parts(self):
        with tf.Graph().as_default():
            whole = tf1.get_variable(
                "p", (4, 2), partitioner=tf1.fixed_size_partitioner(2)
            )
            with self.assertRaisesRegex(ValueError, "its parts"):
                RMSPropOptimizer(0.1).minimize(
                    tf.norm(tf.convert_to_tensor(whole)), var_list=[whole]
                )

    @parameterized.parameters(False, True)
    def test_graphs_are_not_mixed(self, use_resource):
        with tf.Graph().as_default() as first:
            variable = tf1.get_variable("v", (), use_resource=use_resource)
            loss = variable**2
        with tf.Graph().as_default() as second:
            gradient = tf.constant(1.0)
            other = tf1.get_variable("v", (), use_resource=use_resource)
        for graph in (first, second):
            with graph.as_default():
                optimizer = RMSPropOptimizer(0.1)
                with self.assertRaisesRegex(ValueError, "graph"):
                    optimizer.apply_gradients([(gradient, variable)])
                self.assertLen(tf1.global_variables(), 1)
        with second.as_default():
            with self.assertRaises(ValueError):
                optimizer.minimize(loss, var_list=[other])
            with self.assertRaises(ValueError):
                optimizer.minimize(loss, var_list=[variable])
            self.assertLen(tf1.global_variables(), 1)

    def test_a_tensor_loss_in_eager_mode_is_a_runtime_error(self):
        with self.assertRaisesRegex(RuntimeError, "should be a function"):
            RMSPropOptimizer(0.1).minimize(tf.constant(1.0), var_list=[])

    def test_an_unknown_gate_is_a_value_error(self):
        with tf.Graph().as_default():
            variable = tf1.get_variable("v", ())
            with self.assertRaisesRegex(ValueError, "gate_gradients"):
                RMSPropOptimizer(0.1).compute_gradients(variable, gate_gradients=7)
