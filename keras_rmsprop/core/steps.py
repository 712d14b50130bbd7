"""The doors of the core: one step, taken where it is taken best.

Each asks in turn whether native kernels, TensorFlow's kernels, or for large variables
XLA can do it; ordinary ops always can.
"""

import contextlib
import functools
from itertools import compress

import tensorflow as tf

from keras_rmsprop.core import (
    compiled,
    duplicates,
    execution,
    formula,
    ordinary,
    raw_kernels,
)
from keras_rmsprop.core.native import steps as native


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
    rounding = _rounding(rule, slots, formula.DENSE_KERNEL)
    if native.take_dense(rounding, variable):
        return native.apply_dense(rounding, variable, slots, gradient, hyper)
    op = raw_kernels.op_for(rule, variable, slots)
    if op is not None:
        return raw_kernels.apply(op, variable, slots, gradient, hyper, use_locking)
    return ordinary.apply_dense(rounding, variable, slots, gradient, hyper, use_locking)


def apply_sparse(
    rule,
    variable,
    slots,
    gradient,
    indices,
    hyper,
    use_locking=False,
    distinct=False,
):
    """Applies one step to some rows of a variable; the others keep their state.

    Args:
        rule: An `UpdateRule`.
        variable: A `tf.Variable` of shape `(rows, ...)`.
        slots: `Slots` of variables like `variable`.
        gradient: Tensor of shape `(n, ...)` and of the variable's dtype.
        indices: int32 or int64 tensor of shape `(n,)`. Slices that share an index
            are summed.
        hyper: `Hyperparameters`, cast to the variable's dtype.
        use_locking: Whether the update holds the variables' locks.
        distinct: Whether the indices come from `sum_duplicates`.

    Returns:
        The `tf.Operation` that updates, in a graph; None when executed eagerly.
    """
    rounding = _rounding(rule, slots, formula.SPARSE_KERNEL)
    if native.take_sparse(rounding, variable):
        return native.apply_sparse(rounding, variable, slots, gradient, indices, hyper)
    if not distinct:
        gradient, indices = _summed(variable, gradient, indices)
    op = raw_kernels.op_for(rule, variable, slots, indices.dtype)
    if op is not None:
        return raw_kernels.apply(
            op, variable, slots, gradient, hyper, use_locking, indices
        )
    return ordinary.apply_sparse(
        rounding, variable, slots, gradient, indices, hyper, use_locking
    )


def apply_sparse_as_dense(
    rule,
    variable,
    slots,
    gradient,
    indices,
    hyper,
    use_locking=False,
    distinct=False,
):
    """Applies one step as if the gradient were dense: every row's means decay.

    Arguments and result are those of `apply_sparse`.
    """
    if not distinct:
        gradient, indices = _summed(variable, gradient, indices)
    by_kernel = rule.uses_kernels and slots.momentum is not None
    if by_kernel or execution.is_compiled():
        dense = tf.math.unsorted_segment_sum(gradient, indices, variable.shape[0])
        return apply_dense(rule, variable, slots, dense, hyper, use_locking)
    rounding = _rounding(rule, slots, formula.SPARSE_KERNEL)
    return ordinary.apply_sparse_as_dense(
        rounding, variable, slots, gradient, indices, hyper, use_locking
    )


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
    if execution.is_compiled():
        return update
    with execution.after(update):
        shared = tf.raw_ops.DisableCopyOnRead(resource=variable.handle)
    return update if shared is None else tf.group(update, shared)


class Together:
    """Dense steps of all variables of an optimizer, kept ready from one to the next.

    To call each op of each small variable from Python costs more than the step does.
    Native kernels take all variables in one op. Graphs that are kept hold the ops of
    those of float32 and float64 that they do not take; all others go one by one.
    """

    # For how many sets of variables. One is usual; steps that each leave out other
    # variables would make graphs without end, and go one by one.
    MAXIMUM_SETS = 4

    def __init__(self, use_locking=False):
        """Takes whether updates hold the variables' locks; native kernels always do."""
        self._use_locking = use_locking
        self._ready = {}

    def __reduce__(self):
        # A copy is of other variables.
        return Together, (self._use_locking,)

    @staticmethod
    def takes(rule, variable, has_momentum):
        """Whether a variable's eager step takes less time together with others."""
        rounding = formula.rounding_of(rule, has_momentum, formula.DENSE_KERNEL)
        return native.take_dense(rounding, variable) or _rounds_alike_in_graphs(
            rule, variable
        )

    def apply(self, rule, variables, slots_of, gradients, hyper):
        """Applies one step.

        Args:
            rule: An `UpdateRule`.
            variables: List of variables, as for `apply_dense`.
            slots_of: Function that returns the `Slots` of a variable. What is kept
                does not ask again.
            gradients: List of their gradients.
            hyper: `Hyperparameters`, cast or not.
        """
        if not tf.executing_eagerly():
            # What is made in a graph is of no use in another, or outside.
            slots = list(map(slots_of, variables))
            step = _prepared(rule, variables, slots, False, self._use_locking)
            step(gradients, hyper)
            return
        key = (rule, tf.distribute.has_strategy(), *map(id, variables))
        step, _ = self._ready.get(key, (None, None))
        if step is None:
            kept = len(self._ready) < self.MAXIMUM_SETS
            # Functions that run eagerly are for debugging, and no measure for later.
            kept = kept and not tf.config.functions_run_eagerly()
            slots = list(map(slots_of, variables))
            step = _prepared(rule, variables, slots, kept, self._use_locking)
            if kept:
                # The variables, too, so that nothing else gets their ids.
                self._ready[key] = step, variables
        step(gradients, hyper)


def _prepared(rule, variables, slots, kept, use_locking):
    """Returns what takes the gradients and hyperparameters of a step.

    Args:
        rule: An `UpdateRule`.
        variables: List of variables.
        slots: List of their `Slots`.
        kept: Whether it is for later eager steps, too.
        use_locking: Whether updates hold the variables' locks.
    """
    rounding = _rounding(rule, slots[0], formula.DENSE_KERNEL)
    taken = [native.take_dense(rounding, variable) for variable in variables]
    if all(taken):
        return native.Together(rounding, variables, slots).apply
    if any(taken):
        return _split(rule, variables, slots, kept, use_locking, taken)

    placed = tf.executing_eagerly()
    step = functools.partial(_one_by_one, rule, use_locking, placed)
    each = functools.partial(step, variables, slots)
    alike = all(_rounds_alike_in_graphs(rule, variable) for variable in variables)
    if not kept or not alike or tf.distribute.has_strategy():
        return each
    function = tf.function(each, autograph=False)
    specs = [tf.TensorSpec(variable.shape, variable.dtype) for variable in variables]
    # Ops in a function that is called by an op run one after the other. XLA's programs,
    # each of which may keep but one core busy, are better off side by side.
    by_op = (
        not compiled.pays(rule, variables)
        and execution.is_on_own_cpu(variables[0])
        and len({variable.device for variable in variables}) == 1
        and len(set(map(id, variables))) == len(variables)
    )

    def graph(hyper):
        shared = None
        if by_op:
            key = rule, use_locking
            shared = _shared_graph(step, key, variables, slots, specs, hyper)
        return shared or function.get_concrete_function(specs, hyper)

    return _for_each_kind(graph)


def _one_by_one(rule, use_locking, placed, variables, slots, gradients, hyper):
    rounding = _rounding(rule, slots[0], formula.DENSE_KERNEL)
    compiles = compiled.pays(rule, variables)
    cast = functools.cache(hyper.cast)
    for variable, held, gradient in zip(variables, slots, gradients):
        arguments = variable, held, gradient, cast(variable.dtype.base_dtype)
        if compiles and compiled.can_compile(rule, variable):
            compiled.apply_dense(rounding, *arguments)
            continue
        with tf.device(variable.device) if placed else contextlib.nullcontext():
            apply_dense(rule, *arguments, use_locking)


def _for_each_kind(graph):
    """Returns a function of gradients and hyperparameters by graphs that are kept.

    To find out which trace a call needs takes `tf.function` several times as long as
    steps of small variables. Here the kind of hyperparameters alone decides.

    Args:
        graph: Function of `Hyperparameters` that returns what takes steps with such.
    """
    graphs = {}

    def step(gradients, hyper):
        hyper = hyper.as_tensors()
        kind = hyper.kind()
        if kind not in graphs:
            graphs[kind] = graph(hyper)
        graphs[kind](list(gradients), hyper)

    return step


# TensorFlow never forgets a function that was called by an op.
_MAXIMUM_GRAPHS = 64
_GRAPHS = {}


def _shared_graph(step, key, variables, slots, specs, hyper):
    """Returns a graph for all variables of these kinds, called by an op, or None.

    That takes less than any call of a function.

    Args:
        step: Function of variables, their slots, gradients and hyperparameters.
        key: What it depends on beside these.
        variables: List of variables.
        slots: List of their `Slots`, all of the same names.
        specs: List of the gradients' `tf.TensorSpec`s.
        hyper: `Hyperparameters` of tensors.
    """
    device = variables[0].device
    kinds = [(str(spec.shape), spec.dtype) for spec in specs]
    key = key, device, slots[0].names(), hyper.kind(), *kinds
    if key not in _GRAPHS:
        if len(_GRAPHS) >= _MAXIMUM_GRAPHS:
            return None
        function = tf.function(step, autograph=False)
        graph = function.get_concrete_function(variables, slots, specs, hyper)
        if graph.captured_inputs:
            # Of variables that functions do not take by their handles, as replicas'.
            return None
        _GRAPHS[key] = graph
    graph = _GRAPHS[key]
    tensors = [*variables, *(v for held in slots for v in held if v is not None)]
    handles = [variable.handle for variable in tensors]

    def call(gradients, hyper):
        scalars = [value for value in hyper[:-1] if value is not None]
        with tf.device(device):
            tf.raw_ops.StatefulPartitionedCall(
                args=[*handles, *gradients, *scalars], Tout=[], f=graph
            )

    return call


def _split(rule, variables, slots, kept, use_locking, taken):
    """Returns what `_prepared` does, of those that native kernels take and the rest."""
    masks = taken, [not each for each in taken]
    parts = [
        _prepared(
            rule,
            list(compress(variables, mask)),
            list(compress(slots, mask)),
            kept,
            use_locking,
        )
        for mask in masks
    ]

    def both(gradients, hyper):
        for part, mask in zip(parts, masks):
            part(list(compress(gradients, mask)), hyper)

    return both


def _rounds_alike_in_graphs(rule, variable):
    """Whether a CPU rounds a graph as eager ops: not half precision, nor `rsqrt`."""
    return not rule.reciprocal_root and variable.dtype in (tf.float32, tf.float64)


def _rounding(rule, slots, kernel):
    return formula.rounding_of(rule, slots.momentum is not None, kernel)


def _summed(variable, gradient, indices):
    rows = variable.shape[0]
    if rows is None:
        rows = tf.shape(variable, out_type=indices.dtype)[0]
    return duplicates.sum_duplicates(
        gradient, indices, rows, compiled=execution.is_compiled()
    )
