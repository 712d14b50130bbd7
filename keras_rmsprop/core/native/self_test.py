"""Holds compiled kernels against TensorFlow's own and against ordinary ops.

Run as `python -m keras_rmsprop.core.native.self_test FILE` before they are installed.
"""

import itertools
import sys

import numpy as np
import tensorflow as tf

_ROWS, _WIDTH, _STEPS = 61, 173, 20


def run(ops):
    """Raises AssertionError unless the ops compute what they should.

    Args:
        ops: The module of the ops.
    """
    for dtype, centered in itertools.product((tf.float32, tf.float64), (False, True)):
        _check_dense(ops, dtype, centered)
        _check_sparse(ops, dtype, centered)
    _check_reads(ops)


def _variables(dtype, centered):
    """Returns a variable and its slots: `rms`, `mg`, `momentum`."""
    value = np.random.default_rng(0).normal(size=(_ROWS, _WIDTH))
    filled = [value, np.ones_like(value), *[np.zeros_like(value)] * (1 + centered)]
    variables = [tf.Variable(each, dtype=dtype) for each in filled]
    return variables if centered else [*variables[:2], None, variables[2]]


def _scalars(dtype):
    values = {
        "learning_rate": 0.01,
        "rho": 0.9,
        "momentum_discount": 0.9,
        "epsilon": 1e-10,
    }
    scalars = {name: tf.constant(value, dtype) for name, value in values.items()}
    return {**scalars, "one_minus_rho": []}


def _lists(variables):
    names = ("rms", "mg", "momentum")
    return {
        name: [] if slot is None else [slot.handle]
        for name, slot in zip(names, variables[1:])
    }


def _check_dense(ops, dtype, centered):
    ours, theirs = (_variables(dtype, centered) for _ in range(2))
    scalars = _scalars(dtype)
    random = np.random.default_rng(1)
    for _ in range(_STEPS):
        gradient = tf.constant(random.normal(size=(_ROWS, _WIDTH)), dtype)
        ops.keras_rmsprop_dense(
            variables=[ours[0].handle],
            **_lists(ours),
            gradients=[gradient],
            **scalars,
            form="kernel",
        )
        variable, rms, mg, momentum = theirs
        inputs = {
            "var": variable.handle,
            "ms": rms.handle,
            "mom": momentum.handle,
            "lr": scalars["learning_rate"],
            "rho": scalars["rho"],
            "momentum": scalars["momentum_discount"],
            "epsilon": scalars["epsilon"],
            "grad": gradient,
        }
        if centered:
            tf.raw_ops.ResourceApplyCenteredRMSProp(mg=mg.handle, **inputs)
        else:
            tf.raw_ops.ResourceApplyRMSProp(**inputs)
    _compare(f"dense, {dtype.name}, centered={centered}", ours, theirs)


def _check_sparse(ops, dtype, centered):
    """Rows with duplicates are those of the dense step with their sums."""
    sparse, dense = (_variables(dtype, centered) for _ in range(2))
    random = np.random.default_rng(2)
    scalars = _scalars(dtype)
    for _ in range(_STEPS):
        indices = random.integers(0, _ROWS, _ROWS)
        values = random.normal(size=(_ROWS, _WIDTH)).astype(dtype.as_numpy_dtype)
        summed = np.zeros_like(values)
        np.add.at(summed, indices, values)
        before = [v if v is None else v.numpy() for v in dense]
        ops.keras_rmsprop_sparse(
            variable=[sparse[0].handle],
            **_lists(sparse),
            gradient=values,
            indices=indices,
            **scalars,
            form="keras",
        )
        ops.keras_rmsprop_dense(
            variables=[dense[0].handle],
            **_lists(dense),
            gradients=[tf.constant(summed)],
            **scalars,
            form="keras",
        )
        others = np.setdiff1d(np.arange(_ROWS), indices)
        for variable, old in zip(dense, before):
            if variable is not None:
                variable.scatter_update(tf.IndexedSlices(old[others], others))
    _compare(f"sparse, {dtype.name}, centered={centered}", sparse, dense)


def _check_reads(ops):
    """What was read before a step stays as it was."""
    variables = _variables(tf.float32, False)
    read = variables[0].read_value()
    before = np.array(read)
    ops.keras_rmsprop_dense(
        variables=[variables[0].handle],
        **_lists(variables),
        gradients=[tf.ones_like(read)],
        **_scalars(tf.float32),
        form="kernel",
    )
    assert np.array_equal(read, before), "A step changed what was read before it."
    assert not np.array_equal(variables[0], before), "A step changed nothing."


def _compare(what, ours, theirs):
    for name, a, b in zip(("variable", "rms", "mg", "momentum"), ours, theirs):
        if a is not None:
            different = int(np.sum(a.numpy() != b.numpy()))
            assert not different, f"{what}: {different} elements of `{name}` differ."


if __name__ == "__main__":
    run(tf.load_op_library(sys.argv[1]))
