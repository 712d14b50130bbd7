"""The RMSProp update itself: `apply_dense` and `apply_sparse`.

The core knows variables, slots, gradients, hyperparameters and an `UpdateRule`.
It takes its arguments as valid; the optimizer classes check what users pass.
"""

import functools
from typing import Any, NamedTuple

import tensorflow as tf

from keras_rmsprop.core import composed, kernels
from keras_rmsprop.core.compiled import MINIMUM_ELEMENTS, Programs
from keras_rmsprop.core.sparse import is_compiled, map_values, sum_duplicates

__all__ = [
    "Hyperparameters",
    "Slots",
    "Workspace",
    "apply_all_dense",
    "apply_dense",
    "apply_sparse",
    "apply_sparse_as_dense",
    "is_compiled",
    "map_values",
    "share_reads",
    "sum_duplicates",
]


# Up to what size a kernel that has to do without a momentum slot (`kernels.Call`)
# costs less than a share in a compiled program.
SMALL_ELEMENTS = 1 << 16


class Workspace:
    """What an optimizer keeps from step to step, only to be fast.

    Attributes:
        programs: `Programs`.
        calls: What `_kernel_call` returned for each variable of eager steps, by id.
        unread: The variables that those calls write to and nobody reads.
    """

    def __init__(self):
        self.programs = Programs()
        self.calls = {}
        self.unread = {}


class Slots(NamedTuple):
    """What an optimizer keeps per variable, under the names of the TF1 slots.

    Attributes:
        rms: Discounted mean of squared gradients.
        mg: Discounted mean gradient; None where not centered.
        momentum: Accumulated steps; None where the rule keeps none.
    """

    rms: Any
    mg: Any = None
    momentum: Any = None

    def map(self, function):
        """Returns `Slots` with `function` applied to those that exist."""
        return Slots(*(None if slot is None else function(slot) for slot in self))


class Hyperparameters(NamedTuple):
    """The scalars of a step: Python numbers, or scalar tensors.

    Attributes:
        learning_rate: Step size.
        rho: Discount of both means.
        momentum: Discount of earlier steps.
        epsilon: What keeps the denominator from zero.
        one_minus_rho: `1 - rho` where it was rounded before the cast to the
            variable's dtype, as Keras 3 does; None to take it from the cast `rho`.
    """

    learning_rate: Any
    rho: Any
    momentum: Any
    epsilon: Any
    one_minus_rho: Any = None

    def cast(self, dtype):
        """Returns these as scalar tensors of one dtype, as the update takes them.

        Python numbers are rounded once, to `dtype`; tensors are cast from theirs.
        """

        def scalar(value):
            if isinstance(value, (int, float)):
                return tf.constant(value, dtype)
            return value if value is None else tf.cast(value, dtype)

        return Hyperparameters(*map(scalar, self))


def apply_dense(rule, variable, slots, gradient, hyper, use_locking=False):
    """Applies one step to a whole variable.

    Args:
        rule: An `UpdateRule`.
        variable: A `tf.Variable` of a floating or complex dtype.
        slots: `Slots` of variables like `variable`.
        gradient: Tensor of the variable's shape and dtype.
        hyper: `Hyperparameters`, cast to that dtype.
        use_locking: Whether the update holds the variables' locks.

    Returns:
        The `tf.Operation` that updates, in a graph; None when executed eagerly.
    """
    op = _kernel(rule, variable, slots)
    if op is not None:
        return _apply_kernel(op, variable, slots, gradient, hyper, use_locking)
    state = slots.map(_read)
    new, step = _composed_step(rule, composed.DENSE_KERNEL, state, gradient, hyper)
    writes = [
        _assign(slot, value, use_locking)
        for slot, value in zip(slots, new)
        if slot is not None
    ]
    writes.append(_subtract(variable, step, use_locking))
    return tf.group(*writes)


def apply_sparse(rule, variable, slots, gradient, indices, hyper, use_locking=False):
    """Applies one step to some rows of a variable; the others keep their state.

    Args:
        rule: An `UpdateRule`.
        variable: A `tf.Variable` of shape `(rows, ...)`.
        slots: `Slots` of variables like `variable`.
        gradient: Tensor of shape `(n, ...)` and of the variable's dtype.
        indices: int32 or int64 tensor of shape `(n,)`, as `sum_duplicates`
            returns it.
        hyper: `Hyperparameters`, cast to the variable's dtype.
        use_locking: Whether the update holds the variables' locks.

    Returns:
        The `tf.Operation` that updates, in a graph; None when executed eagerly.
    """
    op = _kernel(rule, variable, slots, indices.dtype)
    if op is not None:
        return _apply_kernel(op, variable, slots, gradient, hyper, use_locking, indices)
    rows = slots.map(lambda slot: tf.gather(slot, indices))
    new, step = _composed_step(rule, composed.SPARSE_KERNEL, rows, gradient, hyper)
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
    rule, variable, slots, gradient, indices, hyper, use_locking=False
):
    """Applies one step as if the gradient were dense: every row's means decay.

    Arguments and result are those of `apply_sparse`.
    """
    if slots.momentum is not None or is_compiled():
        dense = tf.math.unsorted_segment_sum(gradient, indices, variable.shape[0])
        return apply_dense(rule, variable, slots, dense, hyper, use_locking)

    # Without momentum, rows without a gradient decay and do not move. Written as
    # OptimizerV2 writes it, because TensorFlow's graph optimizer rounds
    # `(g * g) * x` and `square(g) * x` differently.
    rounding = _rounding(rule, slots, composed.SPARSE_KERNEL)
    rows = slots.map(lambda slot: tf.gather(slot, indices))
    gradient = composed.counted(rounding, rows, gradient, hyper)
    share = composed.one_minus_rho(hyper)

    def decay_and_add(slot, values):
        decayed = _assign(slot, _read(slot) * hyper.rho, use_locking)
        with _after(decayed):
            added = _scatter("Add", slot, indices, values, use_locking)
        with _after(added):
            return tf.gather(slot, indices)

    ms = decay_and_add(slots.rms, (gradient * gradient) * share)
    mg = None if slots.mg is None else decay_and_add(slots.mg, gradient * share)
    step = composed.increment(rounding, ms, mg, gradient, hyper)
    return _scatter("Sub", variable, indices, step, use_locking)


def share_reads(variable, update):
    """Lets reads of a whole variable share its memory again, after rows changed.

    An op that writes rows makes TensorFlow copy the variable whenever all of it is
    read, from then on, and Keras' `Embedding` reads its whole table in each step.
    Without that, a write copies first only if somebody still holds what was read.

    Args:
        variable: A resource variable.
        update: What `apply_sparse` or `apply_sparse_as_dense` returned.

    Returns:
        The `tf.Operation` that does both, in a graph; None when executed eagerly.
    """
    if is_compiled():
        return update
    with _after(update):
        shared = tf.raw_ops.DisableCopyOnRead(resource=variable.handle)
    return update if shared is None else tf.group(update, shared)


def apply_all_dense(rule, variables, slots, gradients, hyper, workspace):
    """Applies one step to many variables.

    Args:
        rule: An `UpdateRule`.
        variables: List of variables, as for `apply_dense`.
        slots: List of their `Slots`.
        gradients: List of their gradients.
        hyper: `Hyperparameters`, not cast.
        workspace: `Workspace` of the optimizer.
    """
    # Calls made in a graph are of no use in another, or outside.
    eager = tf.executing_eagerly()
    kept, unread = (workspace.calls, workspace.unread) if eager else ({}, {})
    calls = [kept.get(id(variable)) for variable in variables]
    if None in calls:
        calls = [_kernel_call(rule, *held, unread) for held in zip(variables, slots)]
        kept.update(zip(map(id, variables), calls))
    cast = functools.cache(hyper.cast)
    done = set()
    for dtype in {call.dtype for call in calls if call.is_large}:
        places = [
            place
            for place, call in enumerate(calls)
            if call.is_large and call.dtype == dtype
        ]
        share = [(variables[place], slots[place], gradients[place]) for place in places]
        if workspace.programs.run(rule, share, cast(dtype), _apply_each):
            done.update(places)
    scalars = {}
    for place, call in enumerate(calls):
        if place in done:
            continue
        if call.run is None:
            update = variables[place], slots[place], gradients[place]
            apply_dense(rule, *update, cast(call.dtype))
            continue
        found = scalars.get(call.kind)
        if found is None:
            found = scalars[call.kind] = call.scalars(cast(call.dtype))
        call.run(grad=gradients[place], **found)


def _kernel_call(rule, variable, slots, unread):
    """Returns a `kernels.Call` for a dense update."""
    dtype = variable.dtype
    elements = variable.shape.num_elements() or 0
    is_large = elements > SMALL_ELEMENTS and not is_compiled()
    none = kernels.Call(dtype, is_large=is_large)
    if slots.mg is not None or dtype == tf.float16:
        return none  # There is more to do, see `_apply_kernel`.
    if slots.momentum is not None:
        op = _kernel(rule, variable, slots)
        return none if op is None else kernels.Call(dtype, op, variable, slots)
    if (
        elements >= MINIMUM_ELEMENTS
        or not rule.has_epsilon_inside_sqrt(momentum=0.0)
        or not variable.shape.is_fully_defined()
        or tf.distribute.has_strategy()
    ):
        return none
    op = _kernel(rule, variable, slots._replace(momentum=variable))
    if op is None:
        return none
    key = dtype, tuple(variable.shape), variable.device
    if key not in unread:
        unread[key] = kernels.unread_variable(variable)
    return kernels.Call(dtype, op, variable, slots, is_large, unread[key])


def _apply_each(rule, updates, hyper):
    for variable, slots, gradient in updates:
        apply_dense(rule, variable, slots, gradient, hyper)


def _composed_step(rule, kernel_rounding, state, gradient, hyper):
    """Returns new slot values and the step to subtract, by ordinary ops."""
    rounding = _rounding(rule, state, kernel_rounding)
    gradient = composed.counted(rounding, state, gradient, hyper)
    if state.mg is not None and is_compiled():
        gradient = composed.computed_once(gradient, hyper)
    return composed.update(rounding, state, gradient, hyper)


def _apply_kernel(op, variable, slots, gradient, hyper, use_locking, indices=None):
    sparse = indices is not None
    if slots.mg is not None or gradient.dtype == tf.float16:
        state = slots.map(lambda s: tf.gather(s, indices)) if sparse else slots
        rounding = composed.SPARSE_KERNEL if sparse else composed.DENSE_KERNEL
        gradient = composed.counted(rounding, state, gradient, hyper)
    return kernels.apply(op, variable, slots, gradient, hyper, use_locking, indices)


def _kernel(rule, variable, slots, index_dtype=None):
    """Returns the training op to use, or None where ordinary ops have to do.

    XLA has no kernels of its own: it expands the resource ops into the very
    program that it makes of ordinary ops, and has none of the sparse ones.
    Centered steps trust the kernel only where ordinary ops foresee its
    denominator to the last bit, which on a GPU they do not.
    """
    if slots.momentum is None or is_compiled():
        return None
    return _kernel_for(
        rule.bitwise,
        kernels.is_resource(variable),
        variable.device,
        variable.dtype.base_dtype,
        slots.mg is not None,
        index_dtype,
    )


@functools.cache
def _kernel_for(bitwise, resource, device, dtype, centered, index_dtype):
    # Where the kernel's rounding would show, and where ordinary ops are as fast.
    if not bitwise and (dtype.size < 4 or centered or index_dtype is not None):
        return None
    # Variables in a graph may have no device yet; kernels then decide it.
    device_type = tf.DeviceSpec.from_string(device).device_type or "CPU"
    if centered and device_type != "CPU":
        return None
    op = kernels.op_name(resource, centered, sparse=index_dtype is not None)
    return op if kernels.has_kernel(op, device_type, dtype, index_dtype) else None


def _rounding(rule, slots, kernel_rounding):
    """Returns the rounding of what the rule shipped with, where no kernel runs."""
    if not rule.has_epsilon_inside_sqrt(slots.momentum is not None):
        return composed.LEGACY
    return kernel_rounding if rule.bitwise else composed.KERAS


def _read(variable):
    if kernels.is_resource(variable):
        return tf.raw_ops.ReadVariableOp(resource=variable.handle, dtype=variable.dtype)
    return tf.convert_to_tensor(variable)


def _assign(variable, value, use_locking):
    if kernels.is_resource(variable):
        return tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
    return tf.compat.v1.assign(variable, value, use_locking=use_locking)


def _subtract(variable, value, use_locking):
    if kernels.is_resource(variable):
        return tf.raw_ops.AssignSubVariableOp(resource=variable.handle, value=value)
    return tf.compat.v1.assign_sub(variable, value, use_locking=use_locking)


def _scatter(kind, variable, indices, values, use_locking):
    """Writes rows: `kind` is `"Update"`, `"Add"` or `"Sub"`."""
    if kernels.is_resource(variable):
        scatter = getattr(tf.raw_ops, f"ResourceScatter{kind}")
        return scatter(resource=variable.handle, indices=indices, updates=values)
    scatter = getattr(tf.compat.v1, f"scatter_{kind.lower()}")
    return scatter(variable, indices, values, use_locking=use_locking)


def _after(operation):
    """Orders what follows after an op; eager ops are in order anyway."""
    return tf.control_dependencies([] if operation is None else [operation])
