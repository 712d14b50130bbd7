"""Checks of gradients of TensorFlow's variables, made before anything changes."""

import tensorflow as tf

from keras_rmsprop import core


def checked_gradient(gradient, variable):
    """Returns the gradient as a tensor, or slices of tensors, of the variable's dtype.

    Args:
        gradient: Tensor, array or `tf.IndexedSlices`.
        variable: The `tf.Variable` it is for.

    Returns:
        A `tf.Tensor` of the variable's shape, or a `tf.IndexedSlices` whose
        values have the variable's row shape. Executed eagerly, its indices are
        known to lie in range; in a graph, see `step_assertions`.

    Raises:
        ValueError: If dtype kind, shape or indices do not fit the variable.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        if not isinstance(gradient, tf.Tensor):
            gradient = tf.convert_to_tensor(gradient)
        gradient = _cast(gradient, variable)
        same = gradient.shape == variable.shape
        if not (same or variable.shape.is_compatible_with(gradient.shape)):
            raise ValueError(
                f"The gradient of variable {variable.name!r} must have the "
                f"variable's shape {tuple(variable.shape)}. "
                f"Received: a gradient of shape {tuple(gradient.shape)}"
            )
        if not gradient.shape.is_fully_defined():
            # Known only when it runs; ops would broadcast what does not fit.
            gradient = tf.ensure_shape(gradient, variable.shape)
        return gradient

    values = _cast(tf.convert_to_tensor(gradient.values), variable)
    indices = tf.convert_to_tensor(gradient.indices)
    if indices.dtype not in (tf.int32, tf.int64):
        raise ValueError(
            f"The indices of the gradient of variable {variable.name!r} must be "
            f"int32 or int64. Received: indices of dtype {indices.dtype.name}"
        )
    expected = indices.shape[:1].concatenate(variable.shape[1:])
    fits = (
        variable.shape.rank != 0
        and indices.shape.rank in (None, 1)
        and expected.is_compatible_with(values.shape)
    )
    if not fits:
        raise ValueError(
            f"The gradient of variable {variable.name!r}, of shape "
            f"{tuple(variable.shape)}, must have indices of shape (n,) and values "
            f"of shape (n, ...) with the shape of a row. Received: indices of "
            f"shape {indices.shape} and values of shape {values.shape}"
        )
    if not values.shape[1:].is_fully_defined():
        values = tf.ensure_shape(values, expected)
    if tf.executing_eagerly() and indices.shape[0]:
        rows = variable.shape[0]
        found = indices.numpy()
        if found.min() < 0 or found.max() >= rows:
            wrong = found[(found < 0) | (found >= rows)][0]
            raise ValueError(
                f"The indices of the gradient of variable {variable.name!r} must "
                f"lie in [0, {rows - 1}]. Received: an index of {wrong}"
            )
    return tf.IndexedSlices(values, indices, _shape(variable))


def fits_as_it_is(gradient, variable):
    """Whether this is an eager tensor of the variable's shape and dtype.

    What most gradients of eager steps are is found out first: all that is done for
    each variable shows in steps of many small ones.
    """
    return (
        type(gradient) is tf.__internal__.EagerTensor
        and gradient.dtype is variable.dtype
        and gradient.shape == variable.shape
    )


def step_assertions(grads_and_vars):
    """Returns graph ops that have to succeed before a step changes anything.

    They fail if a gradient turns out to have another shape than its variable, or
    slices an index out of range. Empty where there is nothing to add: what is
    executed eagerly has been looked at (`checked_gradient`), and XLA knows shapes
    and compiles no assertions.

    Args:
        grads_and_vars: Iterable of checked gradients and their `tf.Variable`.
    """
    if tf.executing_eagerly() or core.is_compiled():
        return []
    assertions = []
    for gradient, variable in grads_and_vars:
        if isinstance(gradient, tf.IndexedSlices):
            assertions.append(_slices_assertion(gradient, variable))
        elif _type_of_op(gradient) == "EnsureShape":
            assertions.append(gradient.op)
    return assertions


def _shape(variable):
    if variable.shape.is_fully_defined():
        return tf.constant(variable.shape.as_list())
    # Not `tf.shape`: that reads the variable, and while somebody may look at a
    # table, an update of some of its rows has to copy all of it.
    return tf.raw_ops.VariableShape(input=variable.handle)


def _type_of_op(tensor):
    # An eager tensor that a graph uses has no op.
    return getattr(getattr(tensor, "op", None), "type", None)


def _slices_assertion(gradient, variable):
    indices = gradient.indices
    rows = tf.cast(_shape(variable)[0], indices.dtype)
    fits = tf.reduce_all((indices >= 0) & (indices < rows))
    if gradient.values.shape[0] is None or gradient.values.shape[0] != indices.shape[0]:
        fits &= tf.equal(tf.shape(gradient.values)[0], tf.size(indices))
    # Not `tf.debugging.Assert`, whose conditional costs more than the check.
    return tf.raw_ops.Assert(
        condition=fits,
        data=[
            f"The indices of the gradient of variable {variable.name!r} must lie in "
            f"[0, {(variable.shape[0] or 0) - 1}], with a row of values for each. "
            "Received:",
            indices,
        ],
    )


def _cast(gradient, variable):
    """Casts among floating (or among complex) dtypes; refuses other kinds."""
    dtype = variable.dtype
    if gradient.dtype is dtype:
        return gradient
    if (gradient.dtype.is_floating and dtype.is_floating) or (
        gradient.dtype.is_complex and dtype.is_complex
    ):
        return tf.cast(gradient, dtype)
    raise ValueError(
        f"The gradient of variable {variable.name!r} must be "
        f"{'complex' if dtype.is_complex else 'floating'}, as the variable is "
        f"({dtype.name}). Received: a gradient of dtype {gradient.dtype.name}"
    )
