"""The step of an OptimizerV2: from gradients to updated variables."""

import contextlib
import functools
import inspect
import types
import warnings
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_rmsprop import core, mistakes, sharding
from keras_rmsprop.annotations import Gradients, GradsAndVars, Variables
from keras_rmsprop.gradients import checked_gradient, step_assertions


class Step:
    """The part of `Optimizer` that applies gradients."""

    def minimize(
        self,
        loss: Any,
        var_list: Variables | Callable[[], Variables],
        grad_loss: Any = None,
        name: str | None = None,
        tape: tf.GradientTape | None = None,
    ) -> Any:
        """Takes one step that lowers a loss.

        Args:
            loss: Callable without arguments that returns the loss, or the loss as a
                tensor together with the `tape` that recorded it.
            var_list: List of variables, or a callable that returns it after the
                loss was called, for variables that the first call creates.
            grad_loss: Tensor to multiply the gradients with, shaped as the loss.
                Defaults to ones.
            name: Name of the operation. Defaults to the optimizer's.
            tape: A `tf.GradientTape`. Defaults to a new one.

        Returns:
            In a graph the operation that takes the step; executed eagerly, the
            step counter.

        Raises:
            ValueError: If `loss` is a tensor without a `tape`, if no variable has
                a gradient, or if a variable is neither floating nor complex.
        """
        grads_and_vars = self._compute_gradients(loss, var_list, grad_loss, tape)
        return self.apply_gradients(grads_and_vars, name=name)

    def get_updates(self, loss: Any, params: Variables) -> list[Any]:
        """Returns a list of the operations that take one step, in a graph.

        Args:
            loss: Tensor.
            params: List of variables.

        Raises:
            RuntimeError: If executed eagerly.
            ValueError: If the loss has no gradient with respect to a variable.
        """
        params = tf.nest.flatten(params)
        return [self.apply_gradients(zip(self.get_gradients(loss, params), params))]

    def apply(
        self, grads: Gradients, trainable_variables: Variables | None = None
    ) -> None:
        """Takes one step, as Keras 3 asks for it.

        Args:
            grads: List of gradients.
            trainable_variables: List of their variables. Defaults to those that
                the optimizer was built with.

        Raises:
            ValueError: If gradients and variables do not fit.
        """
        grads = list(grads)
        if trainable_variables is None:
            trainable_variables = self.__dict__.get("_trainable_variables")
        if trainable_variables is None:
            raise ValueError(
                "`trainable_variables` must be given until the optimizer is built. "
                "Received: trainable_variables=None"
            )
        variables = mistakes.list_of_variables(
            "trainable_variables", trainable_variables
        )
        if len(grads) != len(variables):
            raise ValueError(
                "`grads` must have one gradient for each variable. Received: "
                f"{len(grads)} gradients for {len(variables)} variables"
            )
        self.apply_gradients(zip(grads, variables))

    # As AutoGraph leaves Keras' own optimizers, and saves three seconds.
    @tf.autograph.experimental.do_not_convert
    def apply_gradients(
        self,
        grads_and_vars: GradsAndVars,
        name: str | None = None,
        experimental_aggregate_gradients: bool = True,
    ) -> Any:
        """Takes one step with given gradients.

        Args:
            grads_and_vars: Iterable of `(gradient, variable)`. A gradient is a
                tensor of the variable's shape, a `tf.IndexedSlices`, or None to
                leave the variable alone. That of a `ShardedVariable` may also be a
                list with one for each of its shards.
            name: Name of the operation. Defaults to the optimizer's.
            experimental_aggregate_gradients: Whether to sum the gradients of all
                replicas. Defaults to True.

        Returns:
            In a graph the operation that takes the step; executed eagerly, the
            step counter.

        Raises:
            NotImplementedError: If something is no variable.
            RuntimeError: If called in a cross-replica context.
            TypeError: If these are no pairs.
            ValueError: If no variable has a gradient, or if a gradient does not
                fit its variable; nothing has changed then.
        """
        pairs = sharding.pairs_of_shards(mistakes.pairs(grads_and_vars))
        pairs = self._with_gradients(pairs)
        variables = self._natives([variable for _, variable in pairs])
        for (gradient, _), variable in zip(pairs, variables):
            if not isinstance(variable, tf.Variable):
                raise NotImplementedError(
                    mistakes.no_variable("grads_and_vars", variable, gradient)
                )
        self._assert_valid_dtypes(variables)
        self._note_constraints([variable for _, variable in pairs])
        pairs = [
            (checked_gradient(gradient, _as_it_is(variable)), variable)
            for (gradient, _), variable in zip(pairs, variables)
        ]
        with contextlib.ExitStack() as scopes:
            scopes.enter_context(tf.name_scope(self._name))
            scopes.enter_context(tf.control_dependencies(step_assertions(pairs)))
            with tf.init_scope():
                self._create_all_weights(variables)
            if not pairs:
                return tf.no_op()
            if tf.distribute.in_cross_replica_context():
                raise RuntimeError(
                    "`apply_gradients` cannot be called in a cross-replica context. "
                    "Call it in a function that `tf.distribute.Strategy.run` runs."
                )
            apply_state = self._prepare(variables)
            if self.loss_scale_factor is not None:
                pairs = _map_values(lambda g: g / self.loss_scale_factor, pairs)
            if experimental_aggregate_gradients:
                pairs = self._transform_unaggregated_gradients(pairs)
                pairs = self._aggregate_gradients(pairs)
            pairs = self._transform_gradients(pairs)
            apply = functools.partial(self._distributed_apply, apply_state=apply_state)
            strategy = tf.distribute.get_strategy()
            if not tf.distribute.has_strategy():
                return apply(strategy, pairs, name=name)
            # Keras' own optimizers use this; unlike the public `merge_call` it
            # works within `tf.cond`, where loss scaling calls us. Since 2.5.
            return tf.__internal__.distribute.interim.maybe_merge_call(
                apply, strategy, pairs, name=name
            )

    def _note_constraints(self, variables):
        """Notes the constraints of Keras' and TensorFlow's variables alike."""
        constraints = {
            self._var_key(variable): variable.constraint
            for variable in variables
            if variable.constraint is not None
        }
        if self._constraints:
            for variable in variables:
                self._constraints.pop(self._var_key(variable), None)
        self._constraints.update(constraints)

    def _with_gradients(self, grads_and_vars):
        """Returns the pairs that have a gradient to train with."""
        pairs = [(g, v) for g, v in grads_and_vars]
        kept = [(g, v) for g, v in pairs if g is not None]
        missing = [v.name for g, v in pairs if g is None]
        if pairs and not kept:
            raise ValueError(f"No gradients provided for any variable: {missing}.")
        if missing:
            warnings.warn(
                f"There are no gradients for variables {missing}. If you use "
                "`model.compile`, did you give a `loss`?",
                stacklevel=3,
            )
        return kept

    def _prepare(self, var_list):
        """Returns `apply_state`: what all variables of a device and dtype share."""
        strategy = tf.distribute.get_strategy()
        keys = {
            (component.device, component.dtype.base_dtype)
            for var in var_list
            for component in strategy.experimental_local_results(var)
        }
        apply_state = {}
        for var_device, var_dtype in keys:
            apply_state[(var_device, var_dtype)] = {}
            with tf.device(var_device):
                self._prepare_local(var_device, var_dtype, apply_state)
        return apply_state

    def _prepare_local(self, var_device, var_dtype, apply_state):
        """Fills `apply_state[(var_device, var_dtype)]`, `lr_t` first."""
        if "learning_rate" in self._hyper:
            lr_t = tf.identity(self._decayed_lr(var_dtype))
            apply_state[(var_device, var_dtype)]["lr_t"] = lr_t

    def _fallback_apply_state(self, var_device, var_dtype):
        """Returns one entry of `apply_state`, for subclasses that do not get it."""
        apply_state = {(var_device, var_dtype): {}}
        self._prepare_local(var_device, var_dtype, apply_state)
        return apply_state[(var_device, var_dtype)]

    def _distributed_apply(self, distribution, grads_and_vars, apply_state, name):
        """Updates all variables, then counts the step. For subclasses."""
        with tf.name_scope(name or self._name):
            if tf.distribute.has_strategy():
                update = functools.partial(self._apply_one, apply_state=apply_state)
                ops = []
                for grad, var in grads_and_vars:
                    updated = distribution.extended.update(
                        var, update, args=(grad,), group=False
                    )
                    ops += tf.nest.flatten(updated)
            else:
                # What is above does the same at twenty times the cost.
                ops = self._update_variables(grads_and_vars, apply_state)
            if tf.executing_eagerly():
                return self.iterations.assign_add(1)
            with tf.control_dependencies([op for op in ops if op is not None]):
                return self.iterations.assign_add(1, read_value=False)

    def _update_variables(self, grads_and_vars, apply_state):
        """Updates variables one by one and returns the operations."""
        ops = []
        for grad, var in grads_and_vars:
            with tf.device(var.device):
                ops.append(self._apply_one(var, grad, apply_state))
        return ops

    def _apply_one(self, var, grad, apply_state):
        """Updates one variable, on its device."""
        state = {"apply_state": apply_state}
        if isinstance(grad, tf.IndexedSlices):
            kwargs = state if "apply_state" in self._sparse_apply_args else {}
            op = self._resource_apply_sparse_duplicate_indices(
                grad.values, var, grad.indices, **kwargs
            )
        else:
            kwargs = state if "apply_state" in self._dense_apply_args else {}
            op = self._resource_apply_dense(grad, var, **kwargs)
        constraint = self._constraints.get(self._var_key(var))
        if constraint is None:
            return op
        with tf.control_dependencies([] if op is None else [op]):
            return var.assign(constraint(var))

    # The arguments of a subclass' methods, for wrappers as well.

    @functools.cached_property
    def _dense_apply_args(self):
        return inspect.getfullargspec(self._resource_apply_dense).args

    @functools.cached_property
    def _sparse_apply_args(self):
        return inspect.getfullargspec(self._resource_apply_sparse).args

    def _resource_apply_dense(self, grad, handle, apply_state):
        """Takes one step with a dense gradient. For subclasses."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `_resource_apply_dense`."
        )

    def _resource_apply_sparse(self, grad, handle, indices, apply_state):
        """Takes one step for rows at distinct indices. For subclasses."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `_resource_apply_sparse` to train "
            "with sparse gradients, as embeddings have."
        )

    def _resource_apply_sparse_duplicate_indices(self, grad, handle, indices, **kwargs):
        """Sums the slices that share an index and goes on with distinct ones.

        Compiled by XLA, the indices keep their number; those that became free lie
        one past the last row, where XLA writes nothing.
        """
        grad, indices = core.sum_duplicates(
            grad, indices, handle.shape[0], compiled=core.is_compiled()
        )
        return self._resource_apply_sparse(grad, handle, indices, **kwargs)

    def _resource_scatter_add(self, x, i, v):
        """Adds `v` to the rows `i` of `x` and returns its new value."""
        op = tf.raw_ops.ResourceScatterAdd(resource=x.handle, indices=i, updates=v)
        with tf.control_dependencies([op]):
            return x.value()

    def _resource_scatter_update(self, x, i, v):
        """Sets the rows `i` of `x` to `v` and returns its new value."""
        op = tf.raw_ops.ResourceScatterUpdate(resource=x.handle, indices=i, updates=v)
        with tf.control_dependencies([op]):
            return x.value()

    def _call_if_callable(self, param):
        return param() if callable(param) else param

    def _valid_dtypes(self):
        """Returns the dtypes that variables may have. For subclasses."""
        return {
            tf.float16,
            tf.bfloat16,
            tf.float32,
            tf.float64,
            tf.complex64,
            tf.complex128,
        }

    def _assert_valid_dtypes(self, tensors):
        valid = self._valid_dtypes()
        for tensor in tensors:
            if tensor.dtype.base_dtype not in valid:
                raise ValueError(
                    f"Variables must have one of the dtypes "
                    f"{sorted(dtype.name for dtype in valid)}. Received: "
                    f"{tensor.name!r} of dtype {tensor.dtype.name}"
                )


def _map_values(function, grads_and_vars):
    return [(core.map_values(function, grad), var) for grad, var in grads_and_vars]


def _as_it_is(variable):
    """Returns what is known of a variable; eagerly, also the shape it has now."""
    if variable.shape.is_fully_defined() or not tf.executing_eagerly():
        return variable
    return types.SimpleNamespace(
        name=variable.name,
        dtype=variable.dtype,
        shape=tf.TensorShape(tf.shape(variable).numpy()),
    )
