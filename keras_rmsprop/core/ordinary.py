"""Steps by ordinary ops, which every device and every compiler has."""

import functools

import tensorflow as tf

from keras_rmsprop.core import execution, formula


def _greatest(tensor):
    return float(tensor.dtype.max) if tensor.dtype.is_floating else None


OPERATIONS = formula.Operations(
    square=tf.square,
    plus_square=lambda array, x, factor: array + factor * tf.square(x),
    minus_square=lambda array, x: array - tf.square(x),
    sqrt=lambda array, spent: tf.sqrt(array),
    rsqrt=tf.math.rsqrt,
    where=tf.where,
    zeros_like=tf.zeros_like,
    clip=tf.clip_by_value,
    isfinite=tf.math.is_finite,
    greatest=_greatest,
)


def apply_dense(rounding, variable, slots, gradient, hyper, use_locking=False):
    """Applies one step to a whole variable; see `steps.apply_dense`."""
    arguments = rounding, slots.map(_read), gradient, hyper, hyper.has_epsilon()
    if slots.mg is not None and _is_written_by_one(variable):
        new, value = formula.update_by_one(
            OPERATIONS, *arguments, _read(variable), _after
        )
        last = functools.partial(_assign, variable, value)
    else:
        new, step = formula.update(OPERATIONS, *arguments)
        last = functools.partial(_subtract, variable, step)
    writes = [
        _assign(slot, value, use_locking)
        for slot, value in zip(slots, new)
        if slot is not None
    ]
    return tf.group(*writes, last(use_locking))


def _is_written_by_one(variable):
    """Whether XLA compiles the step for a CPU."""
    return execution.is_compiled() and "/device:CPU:" in variable.device


def _after(array, other):
    # Times 1, which XLA cannot know: it does not see that the one bit is shifted out.
    first = tf.not_equal(tf.reshape(other, [-1])[:1], 0)
    bit = tf.cast(tf.reduce_any(first), tf.int32)
    return array * tf.cast(1 + tf.bitwise.right_shift(bit, 1), array.dtype)


def apply_sparse(rounding, variable, slots, gradient, indices, hyper, use_locking):
    """Applies one step to some rows, at distinct indices; see `steps.apply_sparse`."""
    rows = slots.map(lambda slot: tf.gather(slot, indices))
    new, step = formula.update(
        OPERATIONS, rounding, rows, gradient, hyper, hyper.has_epsilon()
    )
    writes = [
        _scatter("Update", slot, indices, value, use_locking)
        for slot, value in zip(slots, new)
        if slot is not None
    ]
    # Not sooner: while the whole table is still being read, as Keras' `Embedding`
    # does, to gather some of its rows copies it.
    with tf.control_dependencies([step]):
        new_rows = tf.gather(variable, indices) - step
    writes.append(_scatter("Update", variable, indices, new_rows, use_locking))
    return tf.group(*writes)


def apply_sparse_as_dense(
    rounding, variable, slots, gradient, indices, hyper, use_locking
):
    """Applies one step in which all rows decay; see `steps.apply_sparse_as_dense`.

    Rows without a gradient move only by their momentum. Written as the shipped
    optimizer writes it, because TensorFlow's graph optimizer rounds `(g * g) * x` and
    `square(g) * x` differently.
    """
    centered = slots.mg is not None
    squares_gradient = rounding.quotient != "divided"
    if rounding is formula.KERAS2 and centered and not tf.executing_eagerly():
        rounding = formula.KERAS2_CENTERED_SLICES_IN_GRAPH
    rows = slots.map(lambda slot: tf.gather(slot, indices))
    epsilon = hyper.has_epsilon()
    gradient, _ = formula.counted(OPERATIONS, rounding, rows, gradient, hyper, epsilon)
    share = formula.one_minus_rho(hyper)

    def decay_and_add(slot, discount, values):
        decayed = _assign(slot, _read(slot) * discount, use_locking)
        with execution.after(decayed):
            return _scatter("Add", slot, indices, values, use_locking)

    def mean(slot, values):
        with execution.after(decay_and_add(slot, hyper.rho, values)):
            return tf.gather(slot, indices)

    square = tf.square(gradient) if squares_gradient else gradient * gradient
    means = slots._replace(
        rms=mean(slots.rms, square * share),
        mg=mean(slots.mg, gradient * share) if centered else None,
    )
    step = formula.increment(OPERATIONS, rounding, means, gradient, hyper, epsilon)
    if slots.momentum is None:
        return _scatter("Sub", variable, indices, step, use_locking)
    with execution.after(decay_and_add(slots.momentum, hyper.momentum, step)):
        return _subtract(variable, _read(slots.momentum), use_locking)


def _read(variable):
    if execution.is_resource(variable):
        return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)
    return tf.convert_to_tensor(variable)


def _assign(variable, value, use_locking):
    if execution.is_resource(variable):
        return tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
    return tf.compat.v1.assign(variable, value, use_locking=use_locking)


def _subtract(variable, value, use_locking):
    if execution.is_resource(variable):
        return tf.raw_ops.AssignSubVariableOp(resource=variable.handle, value=value)
    return tf.compat.v1.assign_sub(variable, value, use_locking=use_locking)


def _scatter(kind, variable, indices, values, use_locking):
    """Writes rows: `kind` is `"Update"`, `"Add"` or `"Sub"`."""
    if execution.is_resource(variable):
        scatter = getattr(tf.raw_ops, f"ResourceScatter{kind}")
        return scatter(resource=variable.handle, indices=indices, updates=values)
    scatter = getattr(tf.compat.v1, f"scatter_{kind.lower()}")
    return scatter(variable, indices, values, use_locking=use_locking)
