"""TensorFlow's eight RMSProp training kernels, and where each exists."""

import functools

import ml_dtypes
import tensorflow as tf

# TensorFlow publishes no way to ask which kernels it was built with.
from tensorflow.python.framework import kernels as registry

from keras_rmsprop.core import execution, formula, ordinary


def op_for(rule, variable, slots, index_dtype=None):
    """Returns the name of the kernel for a step, or None where there is none to use.

    Rules that do not promise its rounding do without: it makes NaN of a mean of
    squares that has overflowed, and has to round `rho` before it takes `1 - rho`.
    XLA has no kernels of its own: it expands the resource ops into the very
    program that it makes of ordinary ops, and has none of the sparse ones.
    Centered steps trust the kernel only where ordinary ops foresee its
    denominator to the last bit, which on a GPU they do not.

    Args:
        rule: An `UpdateRule`.
        variable: A `tf.Variable`.
        slots: `Slots`.
        index_dtype: The `tf.DType` of the indices of a sparse gradient.
    """
    if not rule.uses_kernels or slots.momentum is None or execution.is_compiled():
        return None
    return _op_for(
        execution.is_resource(variable),
        variable.device,
        variable.dtype.base_dtype,
        slots.mg is not None,
        index_dtype,
    )


@functools.cache
def _op_for(resource, device, dtype, centered, index_dtype):
    # Variables in a graph may have no device yet; kernels then decide it.
    device_type = tf.DeviceSpec.from_string(device).device_type or "CPU"
    if centered and device_type != "CPU":
        return None
    op = op_name(resource, centered, sparse=index_dtype is not None)
    return op if has_kernel(op, device_type, dtype, index_dtype) else None


@functools.cache
def has_kernel(op, device_type, dtype, index_dtype=None):
    """Whether this TensorFlow has a kernel, by its own registry.

    Args:
        op: Name of an op, such as `"ResourceApplyRMSProp"`.
        device_type: `"CPU"` or `"GPU"`.
        dtype: The `tf.DType` of the variable.
        index_dtype: The `tf.DType` of the indices, for the sparse ops.

    Returns:
        A bool.

    Example:

    >>> has_kernel("ResourceApplyRMSProp", "CPU", tf.float32)
    True
    >>> has_kernel("ResourceSparseApplyRMSProp", "GPU", tf.float32, tf.int32)
    False
    """
    wanted = {"T": dtype, "Tindices": index_dtype}

    def allows(constraint):
        allowed = constraint.allowed_values.list.type
        return wanted[constraint.name].as_datatype_enum in allowed

    return any(
        kernel.device_type == device_type and all(map(allows, kernel.constraint))
        for kernel in registry.get_registered_kernels_for_op(op).kernel
    )


def op_name(resource, centered, sparse):
    """Returns the name of the training op for such a variable and gradient.

    >>> op_name(resource=True, centered=True, sparse=False)
    'ResourceApplyCenteredRMSProp'
    """
    return (
        f"{'Resource' if resource else ''}{'Sparse' if sparse else ''}"
        f"Apply{'Centered' if centered else ''}RMSProp"
    )


def apply(op, variable, slots, gradient, hyper, use_locking, indices=None):
    """Runs a training kernel, such that finite gradients keep variables finite.

    Args:
        op: What `op_for` returned.
        variable: A `tf.Variable`.
        slots: `Slots` of variables, with a momentum slot.
        gradient: Tensor of the variable's shape, or of the rows at `indices`.
        hyper: `Hyperparameters` in the variable's dtype.
        use_locking: Whether the kernel holds the variables' locks.
        indices: Distinct row numbers, for the sparse ops.

    Returns:
        The `tf.Operation` in a graph; None when executed eagerly.
    """
    has_epsilon = hyper.has_epsilon()
    if slots.mg is not None or gradient.dtype == tf.float16 or not has_epsilon:
        state, rounding = slots, formula.DENSE_KERNEL
        if indices is not None:
            state = slots.map(lambda slot: tf.gather(slot, indices))
            rounding = formula.SPARSE_KERNEL
        gradient, rests = formula.counted(
            ordinary.OPERATIONS, rounding, state, gradient, hyper, has_epsilon
        )
        if not has_epsilon:
            # Else what counts as zero would still be divided by zero. Steps in which
            # nothing is, have the shipped bits.
            dtype = gradient.dtype
            least = 10 * float(ml_dtypes.finfo(dtype.real_dtype.as_numpy_dtype).tiny)
            least = tf.constant(6e-8 if dtype == tf.float16 else least, dtype)
            least *= tf.cast(tf.reduce_any(rests), least.dtype)
            hyper = hyper._replace(epsilon=hyper.epsilon + least)
    inputs = {
        "var": _as_input(variable),
        "ms": _as_input(slots.rms),
        "mom": _as_input(slots.momentum),
        "lr": hyper.learning_rate,
        "rho": hyper.rho,
        "momentum": hyper.momentum,
        "epsilon": hyper.epsilon,
        "grad": gradient,
    }
    if slots.mg is not None:
        inputs["mg"] = _as_input(slots.mg)
    if indices is not None:
        inputs["indices"] = indices
    result = getattr(tf.raw_ops, op)(**inputs, use_locking=use_locking)
    return result if execution.is_resource(variable) else result.op


def _as_input(variable):
    return variable.handle if execution.is_resource(variable) else variable
