"""TensorFlow's eight RMSProp training kernels, and where each exists."""

import functools
import inspect

import tensorflow as tf

# TensorFlow publishes no way to ask which kernels it was built with.
from tensorflow.python.framework import kernels as registry


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


def is_resource(variable):
    """Whether this is a resource variable (and no TF1 reference variable)."""
    return hasattr(variable, "handle")


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
    """Runs a training kernel.

    Args:
        op: What `op_name` returned.
        variable: A `tf.Variable`.
        slots: `Slots` of variables, with a momentum slot.
        gradient: Tensor of the variable's shape, or of the rows at `indices`.
        hyper: `Hyperparameters` in the variable's dtype.
        use_locking: Whether the kernel holds the variables' locks.
        indices: Distinct row numbers, for the sparse ops.

    Returns:
        The `tf.Operation` in a graph; None when executed eagerly.
    """
    inputs = {
        "var": _as_input(variable),
        "ms": _as_input(slots.rms),
        "mom": _as_input(slots.momentum),
        **dict(zip(("lr", "rho", "momentum", "epsilon"), scalars(hyper))),
        "grad": gradient,
    }
    if slots.mg is not None:
        inputs["mg"] = _as_input(slots.mg)
    if indices is not None:
        inputs["indices"] = indices
    result = getattr(tf.raw_ops, op)(**inputs, use_locking=use_locking)
    return result if result is None or is_resource(variable) else result.op


def prepared(op, variable, rms, momentum):
    """Returns the dense kernel for resource variables, with these filled in.

    It takes, by position, what `scalars` returns and the gradient.
    """
    # Unwrapped is what `tf.raw_ops` wraps only to refuse positional arguments.
    function = inspect.unwrap(getattr(tf.raw_ops, op))
    return functools.partial(function, variable.handle, rms.handle, momentum.handle)


def scalars(hyper):
    """Returns the kernels' scalar arguments in their order."""
    return hyper.learning_rate, hyper.rho, hyper.momentum, hyper.epsilon


def scalars_of_no_momentum(hyper):
    """Returns `scalars` for a kernel that has the variable in place of momentum."""
    one = tf.ones_like(hyper.momentum)
    return scalars(hyper._replace(learning_rate=-hyper.learning_rate, momentum=one))


def _as_input(variable):
    return variable.handle if is_resource(variable) else variable
