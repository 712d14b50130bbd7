"""Slices of a gradient that share an index."""

import tensorflow as tf


def sum_duplicates(values, indices, rows, compiled=False):
    """Sums the slices that share an index.

    Args:
        values: Tensor of shape `(n, ...)`.
        indices: Integer tensor of shape `(n,)`, in any order.
        rows: Height of the table that is indexed, an int or integer tensor.
        compiled: Whether XLA compiles this. XLA needs shapes that do not depend
            on values, so the result keeps its length of `n`: freed places hold
            zeros and the index `rows`, one past the end, which XLA's gathers
            clamp and its scatters drop.

    Returns:
        The summed values, and their distinct indices in order of first
        appearance (with `compiled`, in ascending order).

    Example:

    >>> values, indices = sum_duplicates(
    ...     tf.constant([[1.0], [2.0], [3.0]]), tf.constant([4, 2, 4]), rows=5)
    >>> values.numpy().tolist(), indices.numpy().tolist()
    ([[4.0], [2.0]], [4, 2])
    """
    if not compiled:
        distinct, places = tf.unique(indices)
        summed = tf.math.unsorted_segment_sum(values, places, tf.size(distinct))
        return summed, distinct
    n = tf.size(indices)
    order = tf.argsort(indices, stable=True)
    indices = tf.gather(indices, order)
    starts = tf.concat([tf.ones_like(indices[:1]), _steps(indices)], axis=0)
    places = tf.cumsum(starts) - 1
    summed = tf.math.unsorted_segment_sum(tf.gather(values, order), places, n)
    # Every member of a segment writes the same index; unwritten places stay `rows`.
    freed = tf.fill([n], tf.cast(rows, indices.dtype))
    distinct = tf.tensor_scatter_nd_min(freed, places[:, None], indices)
    return summed, distinct


def _steps(ascending):
    """1 where an element differs from the one before it, 0 elsewhere."""
    # In graphs of TF1 `!=` asks whether these are the same tensor.
    return tf.cast(tf.not_equal(ascending[1:], ascending[:-1]), ascending.dtype)


def map_values(function, gradient):
    """Applies a function to a dense gradient, or to the values of a sparse one."""
    if not isinstance(gradient, tf.IndexedSlices):
        return function(gradient)
    return tf.IndexedSlices(
        function(gradient.values), gradient.indices, gradient.dense_shape
    )
