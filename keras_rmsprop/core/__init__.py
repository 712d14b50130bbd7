"""The RMSProp update itself: `apply_dense` and `apply_sparse`.

The core knows variables, slots, gradients, hyperparameters and an `UpdateRule`.
It takes its arguments as valid; the optimizer classes check what users pass.
"""

import collections
import functools
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_rmsprop.core import compiled, composed, kernels
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


# For how many sets of variables one optimizer makes a function for eager steps. One
# is usual; steps that each leave out other variables would make them without end.
MAXIMUM_SETS = 4
# From how many variables on it does so for small ones: to call it costs as much as
# the ordinary ops of a few.
MINIMUM_VARIABLES = 8


class Workspace:
    """What an optimizer keeps from one eager step to the next, to be fast.

    Attributes:
        steps: For sets of variables, by their ids, a `tf.function` that updates all,
            or None where that does not pay.
        updates: The `_Update` of each variable, by its id.
        unread: The variables that those write to and nobody reads.
        overflowed: Whether the square of a gradient ever overflowed.
    """

    def __init__(self):
        self.steps = {}
        self.updates = {}
        self.unread = {}
        self.overflowed = False


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

    def names(self):
        """Returns the names of those that exist."""
        return tuple(compress(self._fields, (slot is not None for slot in self)))


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

    def as_tensors(self):
        """Returns these as tensors, which a `tf.function` is not traced for anew."""
        return Hyperparameters(
            *(
                tf.constant(value, tf.float64)
                if isinstance(value, (int, float))
                else value
                for value in self
            )
        )


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
    if is_compiled() or (rule.uses_kernels and slots.momentum is not None):
        dense = tf.math.unsorted_segment_sum(gradient, indices, variable.shape[0])
        return apply_dense(rule, variable, slots, dense, hyper, use_locking)

    # Rows without a gradient decay, and move only by their momentum. Written as the
    # shipped optimizer writes it, because TensorFlow's graph optimizer rounds
    # `(g * g) * x` and `square(g) * x` differently.
    rounding = _rounding(rule, slots, composed.SPARSE_KERNEL)
    centered = slots.mg is not None
    if rounding is composed.KERAS2 and centered and not tf.executing_eagerly():
        rounding = composed.KERAS2_CENTERED_SLICES_IN_GRAPH
    rows = slots.map(lambda slot: tf.gather(slot, indices))
    gradient, _ = composed.counted(rounding, rows, gradient, hyper)
    share = composed.one_minus_rho(hyper)

    def decay_and_add(slot, discount, values):
        decayed = _assign(slot, _read(slot) * discount, use_locking)
        with _after(decayed):
            return _scatter("Add", slot, indices, values, use_locking)

    def mean(slot, values):
        with _after(decay_and_add(slot, hyper.rho, values)):
            return tf.gather(slot, indices)

    square = tf.square(gradient) if rule.reciprocal_root else gradient * gradient
    ms = mean(slots.rms, square * share)
    mg = mean(slots.mg, gradient * share) if centered else None
    step = composed.increment(rounding, ms, mg, gradient, hyper)
    if slots.momentum is None:
        return _scatter("Sub", variable, indices, step, use_locking)
    with _after(decay_and_add(slots.momentum, hyper.momentum, step)):
        return _subtract(variable, _read(slots.momentum), use_locking)


def share_reads(variable, update):
    """Lets reads of a whole variable share its memory again, after rows changed.

    An op that writes rows makes TensorFlow copy the variable whenever all of it is
    read, from then on, and Keras' `Embedding` reads its whole table in each step.
    Without that, a write copies first only if somebody still holds what was read.
    (Where several threads update one table side by side, what another thread reads
    at that moment may then change as it is looked at.)

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
        workspace: `Workspace` for this rule, these variables and this `rho`.
    """
    step = _whole_step(rule, variables, slots, hyper, workspace)
    if step is not None:
        step(gradients, hyper.as_tensors())
        return
    updates = _updates(rule, variables, slots, hyper, workspace)
    if not workspace.overflowed and _squares_overflow(updates, gradients):
        workspace.overflowed = True
        workspace.updates.clear()
        workspace.steps.clear()
        apply_all_dense(rule, variables, slots, gradients, hyper, workspace)
        return
    arguments = {}
    for update, gradient in zip(updates, gradients):
        found = arguments.get(update.kind)
        if found is None:
            found = update.arguments(hyper.cast(update.dtype))
            arguments[update.kind] = found
        update.run(*found, gradient)


def _whole_step(rule, variables, slots, hyper, workspace):
    """Returns a function that takes an eager step as a graph does, or None.

    To call a program from Python for each large variable, or ordinary ops for each
    small one, costs more than a graph of all variables. Kernels cost less.
    """
    if (
        rule.uses_kernels
        or not tf.executing_eagerly()
        or tf.config.functions_run_eagerly()
        or tf.distribute.has_strategy()
    ):
        return None
    key = tuple(map(id, variables))
    if key in workspace.steps or len(workspace.steps) == MAXIMUM_SETS:
        return workspace.steps.get(key)
    workspace.steps[key] = step = None
    if compiled.pays(rule, variables) or (
        len(variables) >= MINIMUM_VARIABLES
        and any(
            _eager_kernel(rule, *held, hyper, workspace) is None
            for held in zip(variables, slots)
        )
    ):

        @tf.function(autograph=False)
        def step(gradients, hyper):
            apply_all_dense(rule, variables, slots, gradients, hyper, Workspace())

        workspace.steps[key] = step
    return step


def _updates(rule, variables, slots, hyper, workspace):
    """Returns the `_Update` of each variable."""
    # What is made in a graph is of no use in another, or outside.
    kept = {}
    if tf.executing_eagerly() and np.float32(hyper.epsilon):
        kept = workspace.updates
    updates = [kept.get(id(variable)) for variable in variables]
    if None in updates:
        compiles = not is_compiled() and compiled.pays(rule, variables)
        updates = [
            _update(rule, *held, hyper, compiles, workspace)
            for held in zip(variables, slots)
        ]
        kept.update(zip(map(id, variables), updates))
    return updates


def _squares_overflow(updates, gradients):
    """Whether a kernel that stands in for ordinary ops would meet an infinite square.

    It makes NaN of an infinite mean in the next step, where ordinary ops, like Keras,
    let the element rest.
    """
    groups = collections.defaultdict(list)
    for update, gradient in zip(updates, gradients):
        if update.group is not None:
            groups[update.group].append(gradient)
    # The fewest ops that tell: of many small variables they would take most of the
    # time. Half the sum of squares, or NaN, may also tell of what is only large.
    return any(
        not float(tf.nn.l2_loss(tf.raw_ops.Pack(values=group)))
        < np.finfo(dtype).max / 4
        for (dtype, _), group in groups.items()
    )


class _Update:
    """How to apply dense gradients to one variable, kept ready.

    Attributes:
        dtype: The `tf.DType` of the variable.
        run: Takes what `arguments` returned, and the gradient.
        arguments: Takes `Hyperparameters` of that dtype, returns a tuple.
        kind: What updates have in common that take the same arguments.
        group: Dtype and shape of a gradient for `_squares_overflow`, or None.
    """

    def __init__(self, dtype, run, arguments=lambda hyper: (hyper,)):
        self.dtype = dtype
        self.run = run
        self.arguments = arguments
        self.kind = dtype.name, arguments
        self.group = None


def _update(rule, variable, slots, hyper, compiles, workspace):
    """Returns an `_Update`."""
    dtype = variable.dtype
    if compiles and compiled.can_compile(rule, variable):
        program = compiled.program(
            apply_dense, rule, variable.shape, dtype, slots.names()
        )

        def run(hyper, gradient):
            with tf.device(variable.device):
                program(variable, slots, gradient, hyper)

        return _Update(dtype, run)
    op = _eager_kernel(rule, variable, slots, hyper, workspace)
    if op is None:
        return _Update(
            dtype,
            lambda hyper, gradient: apply_dense(rule, variable, slots, gradient, hyper),
        )
    if slots.momentum is not None:
        run = kernels.prepared(op, variable, slots.rms, slots.momentum)
        update = _Update(dtype, run, kernels.scalars)
    else:
        # With `momentum` 1 and a negative rate what the kernel computes as the
        # momentum, `momentum * m + step`, is the variable less the step. What it
        # then subtracts that from is a variable that nobody reads.
        key = dtype, tuple(variable.shape), variable.device
        if key not in workspace.unread:
            with tf.device(variable.device):
                workspace.unread[key] = tf.Variable(tf.zeros_like(variable))
        run = kernels.prepared(op, workspace.unread[key], slots.rms, variable)
        update = _Update(dtype, run, kernels.scalars_of_no_momentum)
    if not rule.bitwise:
        update.group = dtype.as_numpy_dtype, tuple(variable.shape)
    return update


def _eager_kernel(rule, variable, slots, hyper, workspace):
    """Returns the op for a dense step of one op, or None.

    Where many small variables are updated eagerly, time goes by ops. For rules that
    do not ask for the kernel's rounding it is taken only then, and only where what
    it rounds to hardly differs: it takes `1 - rho` from a `rho` already rounded.
    """
    dtype = variable.dtype
    if (
        not tf.executing_eagerly()
        or tf.distribute.has_strategy()
        or slots.mg is not None
        or dtype not in (tf.float32, tf.float64)
        or rule.reciprocal_root
        or not rule.has_epsilon_inside_sqrt(slots.momentum is not None)
        or dtype.as_numpy_dtype(hyper.epsilon) == 0
    ):
        return None
    if rule.uses_kernels:
        return _kernel(rule, variable, slots)
    if workspace.overflowed:
        return None
    share = 1 - dtype.as_numpy_dtype(hyper.rho)
    if abs(share - (1 - hyper.rho)) > 3e-7 * (1 - hyper.rho):
        return None
    return _kernel_for(True, variable.device, dtype, False, None)


def _composed_step(rule, kernel_rounding, state, gradient, hyper):
    """Returns new slot values and the step to subtract, by ordinary ops."""
    rounding = _rounding(rule, state, kernel_rounding)
    return composed.update(rounding, state, gradient, hyper)


def _apply_kernel(op, variable, slots, gradient, hyper, use_locking, indices=None):
    sparse = indices is not None
    has_epsilon = composed.has_epsilon(hyper)
    if slots.mg is not None or gradient.dtype == tf.float16 or not has_epsilon:
        state = slots.map(lambda s: tf.gather(s, indices)) if sparse else slots
        rounding = composed.SPARSE_KERNEL if sparse else composed.DENSE_KERNEL
        gradient, rests = composed.counted(rounding, state, gradient, hyper)
        if not has_epsilon:
            # Else what counts as zero would still be divided by zero. Steps in which
            # nothing is, have the shipped bits.
            least = 6e-8 if gradient.dtype == tf.float16 else 1e-37
            least = tf.cast(least, hyper.epsilon.dtype)
            least *= tf.cast(tf.reduce_any(rests), least.dtype)
            hyper = hyper._replace(epsilon=hyper.epsilon + least)
    return kernels.apply(op, variable, slots, gradient, hyper, use_locking, indices)


def _kernel(rule, variable, slots, index_dtype=None):
    """Returns the training op to use, or None where ordinary ops have to do.

    Rules that do not promise its rounding do without: it makes NaN of a mean of
    squares that has overflowed, and has to round `rho` before it takes `1 - rho`.
    XLA has no kernels of its own: it expands the resource ops into the very
    program that it makes of ordinary ops, and has none of the sparse ones.
    Centered steps trust the kernel only where ordinary ops foresee its
    denominator to the last bit, which on a GPU they do not.
    """
    if not rule.uses_kernels or slots.momentum is None or is_compiled():
        return None
    return _kernel_for(
        kernels.is_resource(variable),
        variable.device,
        variable.dtype.base_dtype,
        slots.mg is not None,
        index_dtype,
    )


@functools.cache
def _kernel_for(resource, device, dtype, centered, index_dtype):
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
    if rule.reciprocal_root:
        return composed.KERAS2
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
