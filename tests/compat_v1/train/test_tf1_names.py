"""Names are part of the API: graphs, checkpoints and scripts refer to them."""

import inspect

import tensorflow as tf
from absl.testing import parameterized
from tf1_training import (
    CLASSES,
    DTYPES,
    ROWS,
    SLOTS,
    WIDTHS,
    make_variables,
    paired,
    tf1,
)

METHODS = (
    "__init__",
    "apply_gradients",
    "compute_gradients",
    "get_name",
    "get_slot",
    "get_slot_names",
    "minimize",
    "variables",
)


def built(
    make,
    dtype,
    use_resource,
    scope=None,
    call_name=None,
    kinds=tuple(WIDTHS),
    rows=None,
    **options,
):
    """Builds a training graph; returns the graph and the optimizer."""
    with tf.Graph().as_default() as graph:
        feeds = {kind: tf1.placeholder(dtype, (rows, WIDTHS[kind])) for kind in kinds}
        indices = tf1.placeholder(tf.int64, (None,))
        rate = tf1.placeholder(tf.float32, ())
        variables = make_variables("v", dtype, use_resource, kinds)
        optimizer = make(rate, **options)
        with tf1.name_scope(scope):
            optimizer.apply_gradients(
                paired(variables, feeds, indices),
                global_step=tf1.train.get_or_create_global_step(),
                name=call_name,
            )
    return graph, optimizer


def names_and_types(graph):
    return [(op.name, op.type) for op in graph.get_operations()]


class NamesTest(parameterized.TestCase):
    @parameterized.product(
        dtype=[d for d in DTYPES if d not in (tf.float16, tf.bfloat16)],
        use_resource=(False, True),
        names=(
            {},
            {"name": "Mine"},
            {"scope": "outer"},
            {"name": "Mine", "call_name": "train"},
            {"kinds": ["sparse5"], "rows": None},
        ),
    )
    def test_graphs_are_the_same_operation_by_operation(
        self, dtype, use_resource, names
    ):
        # What fits only when it runs is looked at by operations of ours.
        names = {"kinds": ["dense"], "rows": ROWS, **names}
        shipped, ours = (
            names_and_types(built(make, dtype, use_resource, **names)[0])
            for make in CLASSES.values()
        )
        self.assertEqual(ours, shipped)

    @parameterized.product(
        dtype=[d for d in DTYPES if d != tf.bfloat16],
        use_resource=(False, True),
        centered=(False, True),
    )
    def test_every_shipped_operation_is_there_under_its_name(
        self, dtype, use_resource, centered
    ):
        shipped, ours = (
            names_and_types(built(make, dtype, use_resource, centered=centered)[0])
            for make in CLASSES.values()
        )
        self.assertEmpty(set(shipped) - set(ours))

    @parameterized.product(
        dtype=DTYPES, use_resource=(False, True), centered=(False, True)
    )
    def test_variables_and_slots_have_the_shipped_names(
        self, dtype, use_resource, centered
    ):
        seen = []
        for make in CLASSES.values():
            graph, optimizer = built(make, dtype, use_resource, centered=centered)
            with graph.as_default():
                seen.append(
                    (
                        [v.name for v in tf1.global_variables()],
                        [v.name for v in tf1.trainable_variables()],
                        [v.name for v in optimizer.variables()],
                        [op.name for op in tf1.get_collection(tf1.GraphKeys.TRAIN_OP)],
                        optimizer.get_slot_names(),
                        optimizer.get_name(),
                    )
                )
        self.assertEqual(seen[1], seen[0])
        used = SLOTS if centered else ("rms", "momentum")
        self.assertEqual(seen[1][4], sorted(used))

    def test_eager_slots_have_the_shipped_names(self):
        seen = []
        for make in CLASSES.values():
            tf1.reset_default_graph()  # It counts the names used in eager mode too.
            variable = tf.Variable([1.0, 2.0], name="v")
            optimizer = make(0.1, centered=True, name="Mine")
            optimizer.apply_gradients([(tf.constant([1.0, 1.0]), variable)])
            slots = [optimizer.get_slot(variable, slot).name for slot in SLOTS]
            seen.append((slots, [v.name for v in optimizer.variables()]))
        self.assertEqual(seen[1], seen[0])

    @parameterized.parameters(*METHODS)
    def test_signatures_are_the_shipped_ones(self, method):
        shipped, ours = (
            [
                (each.name, each.kind, each.default)
                for each in inspect.signature(getattr(make, method)).parameters.values()
            ]
            for make in CLASSES.values()
        )
        self.assertEqual(ours, shipped)

    @parameterized.parameters("GATE_NONE", "GATE_OP", "GATE_GRAPH")
    def test_gates_have_the_shipped_values(self, gate):
        shipped, ours = (getattr(make, gate) for make in CLASSES.values())
        self.assertEqual(ours, shipped)
