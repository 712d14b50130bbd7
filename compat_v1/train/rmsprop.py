"""RMSProp behind the TF1 optimizer API."""

import contextlib
import numbers
import threading
import warnings
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from compat_v1.train import validation
from keras_rmsprop import core, mistakes
from keras_rmsprop.annotations import GradsAndVars, Number, Variables
from keras_rmsprop.shown import Shown
from keras_rmsprop.update_rule import TF1

_Optimizer = tf.compat.v1.train.Optimizer
Hyperparameter = Number | tf.Tensor | tf.Variable | Callable[[], Any]
# Held by the thread that creates slots. Not an optimizer's own, for those are copied.
_CREATING_SLOTS = threading.RLock()


class RMSPropOptimizer(Shown, _Optimizer):
    """RMSProp as `tf.compat.v1.train.RMSPropOptimizer` defined it.

    The optimizer keeps a discounted mean of squared gradients, which starts at
    one, and divides the gradient by its root:

    ```
    rms      <- rms + (gradient**2 - rms) * (1 - decay)
    mg       <- mg + (gradient - mg) * (1 - decay)           # centered only
    momentum <- momentum_ * momentum
                + learning_rate * gradient / sqrt(rms - mg**2 + epsilon)
    variable <- variable - momentum
    ```

    with `momentum_` for the argument and `mg = 0` unless centered.

    A program changes its import and nothing else: values, slots, names of
    variables and operations, and checkpoints are those of TensorFlow's class, to
    the bit on CPU. Noteworthy differences:

    -   `centered=True`: an element whose variance rounds to a value that has no
        root counts as having no gradient in that step, where TensorFlow's class
        turns it into NaN. The graph holds some more operations for that.
    -   Arguments, gradients and variables are checked before anything changes.
    -   Sparse gradients also work in bfloat16, on GPUs and under
        `tf.function(jit_compile=True)`; complex variables also in `minimize`.

    Gradients that are `tf.IndexedSlices` update only the rows that they name, and
    only those rows' slots; slices with the same index are summed first.

    Args:
        learning_rate: Step size, a number; below 0 it ascends. Like the next three
            it may also be a scalar tensor (a placeholder or a decayed rate), a
            variable, or a callable without arguments that returns one of these, and
            in eager mode is called at every step.
        decay: Discount of both means, a number between 0 and 1. Defaults to 0.9.
        momentum: Discount of earlier steps, a number between 0 and 1. Defaults
            to 0.0.
        epsilon: What keeps the denominator from zero, a number >= 0. Defaults to
            1e-10.
        use_locking: Whether the update of a variable holds its lock and those of
            its slots, so that threads which step together lose no update.
            Defaults to False.
        centered: Whether to divide by the estimated variance of the gradient
            rather than by its second moment. Defaults to False.
        name: Prefix for the names of operations and slots. Defaults to
            `"RMSProp"`.

    Raises:
        TypeError: If an argument is unknown.
        ValueError: If `learning_rate`, `decay`, `momentum` or `epsilon` is not a
            real scalar in its range, or `name` is empty.

    Example:

    >>> variable = tf.Variable([1.0, 2.0])
    >>> optimizer = RMSPropOptimizer(learning_rate=0.5)
    >>> optimizer.apply_gradients([(tf.constant([0.3, 0.0]), variable)])
    >>> print(variable.numpy().round(4))
    [0.8427 2.    ]
    >>> print(optimizer.get_slot(variable, "rms").numpy().round(4))
    [0.909 0.9  ]

    In a graph, `minimize` returns the operation to run:

    >>> with tf.Graph().as_default(), tf.compat.v1.Session() as session:
    ...     weight = tf.compat.v1.get_variable("weight", initializer=3.0)
    ...     step = RMSPropOptimizer(0.1, momentum=0.9).minimize(weight**2)
    ...     session.run(tf.compat.v1.global_variables_initializer())
    ...     for _ in range(20):
    ...         session.run(step)
    ...     print(session.run(weight) < 1)
    True

    Source: Hinton, 2012, Neural Networks for Machine Learning, lecture 6e.
    """

    _ARGUMENTS = ("learning_rate", "decay", "momentum", "epsilon")

    @mistakes.names_unknown_arguments
    def __init__(
        self,
        learning_rate: Hyperparameter,
        decay: Hyperparameter = 0.9,
        momentum: Hyperparameter = 0.0,
        epsilon: Hyperparameter = 1e-10,
        use_locking: bool = False,
        centered: bool = False,
        name: str = "RMSProp",
    ) -> None:
        super().__init__(use_locking, name)
        self._learning_rate = learning_rate
        self._decay = decay
        self._momentum = momentum
        self._epsilon = epsilon
        self._centered = centered
        for argument, value in self._arguments().items():
            if not callable(value):
                validation.check_hyperparameter(argument, value)
        if isinstance(decay, numbers.Real) and 0 < decay < 0.1:
            warnings.warn(
                f"`decay={decay!r}` is the discount of the means here, and forgets "
                "them at each step. A learning rate that falls, as by OptimizerV2's "
                "`decay`, is `tf.compat.v1.train.inverse_time_decay`.",
                stacklevel=3,
            )
        self._together = core.Together(use_locking)
        # Of the step that a thread is at. Variables, slots and gradients of an eager
        # step wait for the others.
        self._values = {}
        self._hyper = {}
        self._assertions = {}
        self._waiting = {}
        self._in_order = {}  # Whether a variable occurs twice, so that order matters.

    def _shown_arguments(self):
        held = self.__dict__
        names = [*self._ARGUMENTS, "use_locking", "centered", "name"]
        return {name: held[f"_{name}"] for name in names if f"_{name}" in held}

    def minimize(
        self,
        loss: Any,
        global_step: Any = None,
        var_list: Variables | None = None,
        gate_gradients: int = _Optimizer.GATE_OP,
        aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False,
        name: str | None = None,
        grad_loss: Any = None,
    ) -> Any:
        """Computes the gradients of a loss and applies them.

        Args:
            loss: Scalar tensor, or a callable without arguments that returns one;
                in eager mode it has to be a callable.
            global_step: Variable to increment by one after the update. Defaults
                to None.
            var_list: List or tuple of variables to update. Defaults to the
                graph's trainable variables, or in eager mode to those that
                `loss` reads.
            gate_gradients: `GATE_NONE`, `GATE_OP` (the default) or `GATE_GRAPH`:
                whether gradients may be used before others of the same
                operation, or of the whole graph, are ready. Graph mode only.
            aggregation_method: A `tf.AggregationMethod`, how gradient terms are
                summed. Graph mode only.
            colocate_gradients_with_ops: Whether gradients are placed with the
                operations they belong to. Defaults to False. Graph mode only.
            name: Name of the returned operation. Defaults to the optimizer's.
            grad_loss: Tensor, the gradient of `loss` itself. Defaults to ones.

        Returns:
            The operation that updates the variables and, where given,
            `global_step`; None in eager mode without `global_step`.

        Raises:
            ValueError: If `var_list` holds anything but variables, or no
                variable has a gradient.
            RuntimeError: If `loss` is a tensor in eager mode.
        """
        if var_list is not None:
            validation.check_var_list(var_list, tf.Variable, ValueError)
        return super().minimize(
            loss,
            global_step=global_step,
            var_list=var_list,
            gate_gradients=gate_gradients,
            aggregation_method=aggregation_method,
            colocate_gradients_with_ops=colocate_gradients_with_ops,
            name=name,
            grad_loss=grad_loss,
        )

    def compute_gradients(
        self,
        loss: Any,
        var_list: Variables | None = None,
        gate_gradients: int = _Optimizer.GATE_OP,
        aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False,
        grad_loss: Any = None,
    ) -> list[tuple[Any, Any]]:
        """Computes the gradients of a loss, the first half of `minimize`.

        Args:
            loss: As for `minimize`.
            var_list: As for `minimize`. Tensors are allowed too; their gradients
                can be computed, though not applied.
            gate_gradients: As for `minimize`.
            aggregation_method: As for `minimize`.
            colocate_gradients_with_ops: As for `minimize`.
            grad_loss: As for `minimize`.

        Returns:
            A list of `(gradient, variable)` pairs. A gradient is a tensor,
            `tf.IndexedSlices`, or None where `loss` does not depend on the
            variable.

        Raises:
            TypeError: If `var_list` holds anything but variables and tensors.
            ValueError: If `gate_gradients` is none of the three, there is no
                variable, or `loss` or a variable is neither floating nor complex.
            RuntimeError: If `loss` is a tensor in eager mode.
        """
        if var_list is not None:
            validation.check_var_list(var_list, (tf.Variable, tf.Tensor), TypeError)
        return super().compute_gradients(
            loss,
            var_list=var_list,
            gate_gradients=gate_gradients,
            aggregation_method=aggregation_method,
            colocate_gradients_with_ops=colocate_gradients_with_ops,
            grad_loss=grad_loss,
        )

    def apply_gradients(
        self,
        grads_and_vars: GradsAndVars,
        global_step: Any = None,
        name: str | None = None,
        skip_gradients_aggregation: bool = False,
    ) -> Any:
        """Applies gradients to variables, the second half of `minimize`.

        Args:
            grads_and_vars: Iterable of `(gradient, variable)` pairs, as
                `compute_gradients` returns. Gradients have the shape and dtype
                of their variable; pairs with None are skipped.
            global_step: Variable to increment by one after the update. Defaults
                to None.
            name: Name of the returned operation. Defaults to the optimizer's.
            skip_gradients_aggregation: Whether the gradients are already summed
                over the replicas of a strategy. Defaults to False.

        Returns:
            The operation that updates the variables and, where given,
            `global_step`; None in eager mode without `global_step`.

        Raises:
            TypeError: If `grads_and_vars` is not made of pairs of a gradient and
                a variable.
            NotImplementedError: If a variable is a tensor.
            ValueError: If no variable has a gradient, a gradient does not fit
                its variable, pairs belong to different graphs, or a
                hyperparameter is out of range.
            RuntimeError: If called in a strategy's cross-replica context, or a
                variable with a constraint has a sparse gradient.
        """
        assertions = []
        # Across replicas the base class refuses, and gradients are no tensors yet.
        if not tf.distribute.in_cross_replica_context():
            grads_and_vars = validation.checked_pairs(grads_and_vars)
            with tf.name_scope(f"{self._name}_gradients_fit"):
                grads_and_vars, assertions = validation.asserted(grads_and_vars)
        # Elsewhere callables may make tensors of the graph or the context that
        # `_prepare` runs in; here they can be read before slots are created.
        ahead = tf.executing_eagerly() and not tf.distribute.has_strategy()
        self._values[threading.get_ident()] = self._read() if ahead else None
        if ahead:
            ids = [id(variable) for _, variable in grads_and_vars]
            self._in_order[threading.get_ident()] = len(set(ids)) < len(ids)
        self._assertions[threading.get_ident()] = assertions
        # Replicas' are of other threads than the one that updates.
        replica = tf.distribute.has_strategy()
        with tf.control_dependencies(assertions if replica else []):
            return super().apply_gradients(
                grads_and_vars,
                global_step=global_step,
                name=name,
                skip_gradients_aggregation=skip_gradients_aggregation,
            )

    def _valid_dtypes(self):
        return super()._valid_dtypes() | {tf.complex64, tf.complex128}

    def _create_slots(self, var_list):
        strategy = tf.distribute.get_strategy()
        # The threads of replicas take turns by themselves, at points within.
        several = strategy.num_replicas_in_sync > 1
        with contextlib.nullcontext() if several else _CREATING_SLOTS:
            for variable in var_list:
                # The last to be made; to ask for each takes its time.
                if self.get_slot(variable, "momentum") is None:
                    self._create_slots_of(variable)

    def _create_slots_of(self, variable):
        dtype = variable.dtype.base_dtype
        if variable.shape.is_fully_defined():
            ones = tf.compat.v1.ones_initializer(dtype=dtype)
        else:
            ones = tf.ones_like(variable)
        self._get_or_make_slot_with_initializer(
            variable, ones, variable.shape, dtype, "rms", self._name
        )
        # The order names the slots in checkpoints.
        if self._centered:
            self._zeros_slot(variable, "mg", self._name)
        self._zeros_slot(variable, "momentum", self._name)

    def _arguments(self):
        return {name: getattr(self, f"_{name}") for name in self._ARGUMENTS}

    def _read(self):
        """Returns the hyperparameters of this step, checked where known."""
        values = {}
        for argument, value in self._arguments().items():
            values[argument] = value() if callable(value) else value
            validation.check_hyperparameter(argument, values[argument])
        return values

    def _prepare(self):
        thread = threading.get_ident()
        values = self._values.get(thread) or self._read()
        if tf.distribute.has_strategy() and not tf.executing_eagerly():
            # This thread applies what others asserted; it comes after all of them.
            self._assertions[thread] = [tf.no_op("gradients_fit")]
        self._hyper[thread] = core.Hyperparameters(
            *(tf.convert_to_tensor(values[name], name=name) for name in values)
        )
        self._waiting[thread] = []

    def _finish(self, update_ops, name_scope):
        thread = threading.get_ident()
        # A strategy finishes once for each replica.
        waiting = self._waiting.pop(thread, None)
        if waiting:
            gradients, variables = zip(*waiting)
            self._together.apply(
                TF1, variables, self._slots_of, gradients, self._hyper[thread]
            )
        return super()._finish(update_ops, name_scope)

    def _apply_dense(self, gradient, variable):
        if (
            tf.executing_eagerly()
            and not tf.distribute.has_strategy()
            and variable.constraint is None
            and not self._in_order.get(threading.get_ident())
            and self._together.takes(TF1, variable, has_momentum=True)
        ):
            self._waiting[threading.get_ident()].append((gradient, variable))
            return None
        hyper = self._hyper_of(variable)
        with self._asserted():
            return core.apply_dense(
                TF1,
                variable,
                self._slots_of(variable),
                gradient,
                hyper,
                self._use_locking,
            )

    def _resource_apply_dense(self, gradient, variable):
        return self._apply_dense(gradient, variable)

    def _apply_sparse(self, gradient, variable):
        return self._resource_apply_sparse(gradient.values, variable, gradient.indices)

    def _resource_apply_sparse(self, values, variable, indices):
        hyper = self._hyper_of(variable)
        with self._asserted():
            return core.apply_sparse(
                TF1,
                variable,
                self._slots_of(variable),
                values,
                indices,
                hyper,
                self._use_locking,
                distinct=True,
            )

    def _asserted(self):
        # Around the updates alone. An op of which an input is made within such a scope
        # gets no dependency itself, and if that input is a constant, TensorFlow's graph
        # optimizer drops the one it has.
        return tf.control_dependencies(self._assertions.get(threading.get_ident(), []))

    def _resource_apply_sparse_duplicate_indices(self, values, variable, indices):
        # The base class finds distinct indices by an op that XLA cannot compile.
        if not core.is_compiled():
            return super()._resource_apply_sparse_duplicate_indices(
                values, variable, indices
            )
        rows = tf.shape(variable, out_type=indices.dtype)[0]
        values, indices = core.sum_duplicates(values, indices, rows, compiled=True)
        return self._resource_apply_sparse(values, variable, indices)

    def _hyper_of(self, variable):
        return self._hyper[threading.get_ident()].cast(variable.dtype.base_dtype)

    def _slots_of(self, variable):
        return core.Slots(
            *(self.get_slot(variable, name) for name in core.Slots._fields)
        )
