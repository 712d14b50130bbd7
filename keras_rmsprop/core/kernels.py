"""TensorFlow's eight RMSProp training kernels, and where each exists."""

import functools
import inspect

import tensorflow as tf

# TensorFlow publishes no way to ask which kernels it was built with, nor the name
# by which it makes variables that go with their last handle. These modules are what
# it uses itself, and have had these functions since 1.11 and 2.0.
from tensorflow.python.eager import context
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
        **_scalars(hyper),
        "grad": gradient,
    }
    if slots.mg is not None:
        inputs["mg"] = _as_input(slots.mg)
    if indices is not None:
        inputs["indices"] = indices
    result = getattr(tf.raw_ops, op)(**inputs, use_locking=use_locking)
    return result if result is None or is_resource(variable) else result.op


class Call:
    """How to run the dense kernel for one variable, kept ready.

    The kernel wants a momentum slot: it computes `m = momentum * m + step` and then
    `variable -= m`. Where there is none, the variable takes the place of `m`: with
    `momentum` 1 and a negative learning rate it becomes `variable - step`. What the
    kernel then subtracts it from is a variable that nobody reads.

    Attributes:
        dtype: The `tf.DType` of the variable.
        run: The kernel with the variables filled in; None where none can be used.
        is_large: Whether a compiled program would be faster.
        has_momentum: Whether there is a momentum slot.
        kind: What calls have in common that take the same scalars.
    """

    def __init__(
        self, dtype, op=None, variable=None, slots=None, is_large=False, unread=None
    ):
        self.dtype = dtype
        self.run = None
        self.is_large = is_large
        self.has_momentum = unread is None
        self.kind = dtype.name, self.has_momentum
        if op is not None:
            self.run = functools.partial(
                _ops_function(op),
                var=_as_input(variable) if self.has_momentum else unread,
                ms=_as_input(slots.rms),
                mom=_as_input(slots.momentum if self.has_momentum else variable),
                use_locking=False,
            )

    def scalars(self, hyper):
        """Returns the kernel's scalar arguments."""
        found = _scalars(hyper)
        if not self.has_momentum:
            found["lr"] = -found["lr"]
            found["momentum"] = tf.constant(1, self.dtype)
        return found


@functools.cache
def _ops_function(op):
    # What `tf.raw_ops` wraps only to refuse positional arguments.
    return inspect.unwrap(getattr(tf.raw_ops, op))


def unread_variable(variable):
    """Returns the handle of a new variable of the same shape, dtype and device.

    A `tf.Variable` would have to outlive the graph that it is made in.
    """
    with tf.device(variable.device):
        handle = tf.raw_ops.VarHandleOp(
            dtype=variable.dtype,
            shape=variable.shape,
            shared_name=context.anonymous_name(),
        )
        zeros = tf.zeros(variable.shape, variable.dtype)
        tf.raw_ops.AssignVariableOp(resource=handle, value=zeros)
    return handle


def _as_input(variable):
    return variable.handle if is_resource(variable) else variable


def _scalars(hyper):
    return {
        "lr": hyper.learning_rate,
        "rho": hyper.rho,
        "momentum": hyper.momentum,
        "epsilon": hyper.epsilon,
    }
