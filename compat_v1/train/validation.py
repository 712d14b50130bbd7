"""What the TF1 optimizer refuses, before any variable or slot changes."""

import math

import numpy as np
import tensorflow as tf

from keras_rmsprop import core, mistakes
from keras_rmsprop.gradients import fits_as_it_is

_RANGES = {
    "learning_rate": (-math.inf, math.inf),
    "decay": (0.0, 1.0),
    "momentum": (0.0, 1.0),
    "epsilon": (0.0, math.inf),
}
_ALLOWED = {
    (-math.inf, math.inf): "",
    (0.0, math.inf): " >= 0",
    (0.0, 1.0): " in [0, 1]",
}


def check_hyperparameter(name, value):
    """Checks a hyperparameter as far as its value is known.

    Args:
        name: Its argument name.
        value: Number, array, tensor or variable. Of tensors in a graph and of
            variables only shape and dtype are known.

    Raises:
        ValueError: If it is not a scalar, not numeric, not finite, or out of
            range.

    Example:

    >>> check_hyperparameter("decay", 0.9)
    >>> check_hyperparameter("decay", 1.1)
    Traceback (most recent call last):
    ValueError: `decay` must be a finite number in [0, 1]. Received: decay=1.1
    """
    low, high = _RANGES[name]
    dtype, shape, known = _facts(value)
    numeric = dtype.is_floating or dtype.is_integer or dtype.is_complex or dtype.is_bool
    holds = numeric and shape.is_compatible_with(())
    if holds and known is not None:
        # Complex variables take complex hyperparameters.
        holds = bool(np.isfinite(known)) and low <= np.real(known) <= high
    if not holds:
        raise ValueError(
            f"`{name}` must be a finite number{_ALLOWED[low, high]}. "
            f"Received: {name}={value!r}"
        )


def check_var_list(var_list, allowed, error):
    """Checks that a `var_list` holds nothing but what can be differentiated.

    Args:
        var_list: Variables, possibly nested.
        allowed: Class, or tuple of classes, that its items may have.
        error: Exception class to raise.

    Raises:
        error: If an item is of another class.
    """
    if mistakes.is_model(var_list):
        raise error(
            "`var_list` must hold variables. Received: a model. Give its "
            "`trainable_variables`"
        )
    for item in tf.nest.flatten(var_list):
        if not isinstance(item, allowed):
            raise error(
                "`var_list` must hold `tf.Variable`s only (of a partitioned "
                f"variable, its parts). Received: {item!r} of type {type(item)}"
                + _of_keras(item)
            )


def checked_pairs(grads_and_vars):
    """Returns gradients, as tensors, with their variables, all fit to be applied.

    Args:
        grads_and_vars: What the user passed to `apply_gradients`.

    Returns:
        A list of `(gradient, variable)` pairs. Gradients are tensors,
        `tf.IndexedSlices` or None.

    Raises:
        TypeError: If they are no pairs, or a variable is none.
        NotImplementedError: If a variable is a tensor, as TensorFlow's class says it.
        ValueError: If a gradient does not fit its variable, or graphs are mixed.
        RuntimeError: If a variable with a constraint has a sparse gradient.
    """
    given = mistakes.pairs(grads_and_vars)
    if not given:
        raise ValueError(f"No variables provided: {mistakes.NO_PAIRS}")
    pairs = []
    for gradient, variable in given:
        if not isinstance(variable, tf.Variable):
            tensor = isinstance(variable, tf.Tensor)
            raise (NotImplementedError if tensor else TypeError)(
                mistakes.no_variable("grads_and_vars", variable, gradient)
                + _of_keras(variable)
            )
        fits = variable.dtype.is_floating and fits_as_it_is(gradient, variable)
        if gradient is not None and not fits:
            gradient = _converted(gradient, variable)
            _check_fit(gradient, variable)
        pairs.append((gradient, variable))
    _check_one_graph([pair for pair in pairs if pair[0] is not None])
    return pairs


def _of_keras(variable):
    """Returns what to do with a variable of Keras 3, as the end of a message."""
    if not mistakes.is_variable(variable):
        return ""
    return (
        ". Behind a variable of Keras 3 is a `tf.Variable`: `variable.value`. The "
        "optimizer for models of Keras 3 is "
        "`keras_rmsprop.RMSprop(learning_rate, epsilon=None, update_rule='tf1')`"
    )


def asserted(pairs):
    """Returns pairs, and the graph ops that have to succeed before a step.

    They fail if a gradient turns out to have another shape than its variable, or
    slices an index out of range. There are none where there is nothing to add: eager
    gradients have been looked at, XLA compiles no assertions, and of a lone variable
    the training op looks at each index before it writes.

    Args:
        pairs: What `checked_pairs` returned.
    """
    if tf.executing_eagerly() or core.is_compiled():
        return pairs, []
    several = sum(gradient is not None for gradient, _ in pairs) > 1
    checked, assertions = [], []
    for gradient, variable in pairs:
        if isinstance(gradient, tf.IndexedSlices):
            if several:
                assertions.append(_slices_assertion(gradient, variable))
        elif gradient is not None and not gradient.shape.is_fully_defined():
            # Of an assertion about `tf.shape`, TensorFlow's graph optimizer finds that
            # it holds: that a training op takes this gradient is its proof.
            gradient = tf.ensure_shape(gradient, variable.shape)
            assertions.append(gradient.op)
        checked.append((gradient, variable))
    return checked, assertions


def _slices_assertion(gradient, variable):
    rows = tf.shape(variable, out_type=tf.int64)[0]
    indices = tf.cast(gradient.indices, tf.int64)
    fits = tf.reduce_all((indices >= 0) & (indices < rows))
    fits &= tf.equal(tf.shape(gradient.values)[0], tf.size(indices))
    return tf.raw_ops.Assert(
        condition=fits,
        data=[
            f"The gradient of variable {variable.name!r} must have indices of its "
            "rows, and a row of values for each. Number of rows, and indices received:",
            rows,
            indices,
        ],
    )


def _converted(gradient, variable):
    try:
        return tf.compat.v1.convert_to_tensor_or_indexed_slices(gradient)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"The gradient of {variable.name!r} must be a tensor, "
            f"`tf.IndexedSlices` or None. Received: {gradient!r}"
        ) from error


def _check_fit(gradient, variable):
    """Checks dtype, shape and, where their values are known, indices."""

    def check(holds, what, received, allowed, error=ValueError):
        if not holds:
            raise error(
                f"The gradient of variable {variable.name!r} must have {allowed}. "
                f"Received: {what} {received}"
            )

    dtype, shape = variable.dtype.base_dtype, _shape(variable)
    sparse = isinstance(gradient, tf.IndexedSlices)
    values_dtype, values_shape, _ = _facts(gradient.values if sparse else gradient)
    check(
        (dtype.is_floating or dtype.is_complex) and values_dtype == dtype,
        "dtype",
        values_dtype.name,
        f"the variable's dtype {dtype.name}, floating or complex",
    )
    if not sparse:
        check(
            shape.is_compatible_with(values_shape),
            "shape",
            values_shape,
            f"the variable's shape {shape}",
        )
        return

    check(
        variable.constraint is None,
        "type",
        "`tf.IndexedSlices`",
        "the type `tf.Tensor`, as the variable has a constraint",
        RuntimeError,
    )
    check(shape.rank != 0, "type", "`tf.IndexedSlices`", "the type `tf.Tensor`")
    _, indices_shape, indices = _facts(gradient.indices)
    check(
        indices_shape.rank in (None, 1),
        "indices of shape",
        indices_shape,
        "indices of shape (n,)",
    )
    check(
        indices_shape.concatenate(shape[1:]).is_compatible_with(values_shape),
        f"{indices_shape} indices and values of shape",
        values_shape,
        f"as many values as indices, rows of the variable's shape {shape}",
    )
    if indices is not None and shape.rank is not None and shape[0] is not None:
        wrong = indices[(indices < 0) | (indices >= shape[0])]
        check(
            wrong.size == 0,
            "index",
            wrong[:1],
            f"indices in [0, {shape[0] - 1}]",
        )


def _check_one_graph(pairs):
    """Checks that gradients and variables belong to the graph that is built.

    Functions capture what belongs to the graphs around them, so this is about
    graphs that are run in sessions.
    """
    graph = tf.compat.v1.get_default_graph()
    if tf.executing_eagerly() or graph.building_function:
        return
    for gradient, variable in pairs:
        parts = [variable]
        parts += tf.nest.flatten(gradient, expand_composites=True)
        for part in parts:
            if getattr(part, "graph", graph) is not graph:
                raise ValueError(
                    f"The gradient of variable {variable.name!r} and the variable "
                    "must belong to the current default graph. "
                    f"Received: {part!r} of another graph"
                )


def _shape(variable):
    """Returns the shape of a variable: eagerly, the one that it has at present."""
    if variable.shape.is_fully_defined() or not tf.executing_eagerly():
        return variable.shape
    return tf.TensorShape(tf.shape(variable).numpy())


def _facts(value):
    """Returns dtype, static shape and, where known, the value as an array."""
    if isinstance(value, (tf.Tensor, tf.Variable)):
        return value.dtype.base_dtype, value.shape, tf.get_static_value(value)
    array = np.asarray(value)
    return tf.as_dtype(array.dtype), tf.TensorShape(array.shape), array
