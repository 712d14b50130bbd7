"""What the TF1 tests share: both classes, a training program, exact comparison."""

import contextlib
import itertools

import numpy as np
import tensorflow as tf

from compat_v1.train import RMSPropOptimizer

tf1 = tf.compat.v1
CLASSES = {"shipped": tf1.train.RMSPropOptimizer, "ours": RMSPropOptimizer}
DTYPES = (
    tf.float16,
    tf.bfloat16,
    tf.float32,
    tf.float64,
    tf.complex64,
    tf.complex128,
)
SLOTS = ("rms", "mg", "momentum")
ROWS = 17
# Sparse kernels compute columns in groups of 4 or 8, and the rest one by one.
WIDTHS = {"dense": 8, "sparse8": 8, "sparse5": 5}
# centered x momentum x locking
OPTIONS = [
    {"centered": centered, "momentum": momentum, "use_locking": locking}
    for centered, momentum, locking in itertools.product(
        (False, True), (0.0, 0.9), (False, True)
    )
]


def random_array(rng, shape, dtype):
    values = rng.standard_normal(shape)
    if dtype.is_complex:
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype.as_numpy_dtype)


def random_steps(dtype, steps, seed=0):
    """Yields gradients and, for the sparse ones, indices with duplicates."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        values = {
            kind: random_array(rng, (ROWS if kind == "dense" else 9, width), dtype)
            for kind, width in WIDTHS.items()
        }
        yield values, rng.integers(0, ROWS, 9)


def make_variables(prefix, dtype, use_resource, kinds):
    rng = np.random.default_rng(1)
    return {
        kind: tf1.get_variable(
            f"{prefix}/{kind}",
            initializer=random_array(rng, (ROWS, WIDTHS[kind]), dtype),
            use_resource=use_resource,
        )
        for kind in kinds
    }


def paired(variables, values, indices):
    """Pairs variables with their gradients, `IndexedSlices` for the sparse ones."""
    return [
        (
            values[kind]
            if kind == "dense"
            else tf.IndexedSlices(values[kind], indices, tf.shape(variable)),
            variable,
        )
        for kind, variable in variables.items()
    ]


def state_of(optimizer, variables):
    """Returns variables and slots by name."""
    state = {}
    for kind, variable in variables.items():
        state[kind] = variable
        for slot in SLOTS:
            if optimizer.get_slot(variable, slot) is not None:
                state[f"{kind}/{slot}"] = optimizer.get_slot(variable, slot)
    return state


def assert_same_bits(actual, expected):
    """Asserts that dictionaries of arrays are finite and equal to the bit."""
    assert actual.keys() == expected.keys()
    for name in expected:
        if isinstance(expected[name], dict):
            assert_same_bits(actual[name], expected[name])
            continue
        got, want = np.asarray(actual[name]), np.asarray(expected[name])
        assert got.dtype == want.dtype and got.shape == want.shape, name
        assert np.all(np.isfinite(want.astype(np.complex128))), name
        differing = np.sum(got != want)
        assert got.tobytes() == want.tobytes(), (
            f"{name}: {differing} of {got.size} elements differ, "
            f"by at most {np.max(np.abs(got - want))}"
        )


@contextlib.contextmanager
def graph_session(**kwargs):
    """Yields a session on a graph of its own."""
    with tf.Graph().as_default(), tf1.Session(**kwargs) as session:
        yield session
