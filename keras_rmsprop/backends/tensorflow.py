"""The step on TensorFlow: from `apply` over clipping to the update.

What is TensorFlow's own in the modern face stands here: native variables,
`tf.IndexedSlices`, graphs and their assertions, `tf.distribute`.
"""

import itertools
import operator

import keras
import tensorflow as tf

from keras_rmsprop import core
from keras_rmsprop.gradients import checked_gradient, fits_as_it_is, step_assertions

_APPLY_SPARSE = {"lazy": core.apply_sparse, "dense": core.apply_sparse_as_dense}


class Step:
    """How `keras_rmsprop.RMSprop` takes a step.

    Stands before `keras.optimizers.Optimizer` among its bases.
    """

    def _check_trainable(self, variables):
        strategy = self._distribution_strategy
        for variable in variables:
            if not strategy.extended.variable_created_in_scope(native_of(variable)):
                raise ValueError(
                    "`variables` must belong to the `tf.distribute.Strategy` in whose "
                    f"scope the optimizer was made, {type(strategy).__name__}. "
                    f"Received: {variable.name!r} of another one. Make both in the "
                    "same scope."
                )

    def _start_averages(self, variables):
        with tf.init_scope():  # Once, where a function is being traced.
            for variable, average in zip(
                variables, self._model_variables_moving_average
            ):
                if average is not None:
                    average.assign(variable)

    def _forget_prepared(self):
        self._workspace = core.Workspace()

    def _prepare(self, variables):
        self._workspace = core.Workspace()
        # To look a variable up in Keras costs more than to update a small one.
        self._lookup = Lookup(
            variables, self._velocities, self._average_gradients, self._momentums
        )

    # Nothing below decides on tensors in Python, so a user's tf.function has
    # nothing to gain from rewriting it, as AutoGraph otherwise would.
    @tf.autograph.experimental.do_not_convert
    def apply(self, grads, trainable_variables=None):
        """Applies one step.

        Args:
            grads: List with a gradient for each variable: a tensor of the
                variable's shape, a `tf.IndexedSlices`, or None to leave the
                variable alone.
            trainable_variables: List of the variables, in the same order.
                Defaults to those that the optimizer was built with.

        Raises:
            ValueError: If gradients and variables do not fit, before any of
                them changes.
        """
        grads = list(grads)
        if grads:
            with keras.name_scope(self.name, caller=self):
                self._apply(*self._checked(grads, trainable_variables))

    def _apply(self, grads, variables, natives):
        if not self.built:
            self.build(variables)
            self.built = True
        with tf.control_dependencies(step_assertions(zip(grads, natives))):
            self._apply_checked(grads, variables, natives)
            # Keras' own `assign_add` reads, adds and assigns.
            native_of(self._iterations).assign_add(1, read_value=False)

    def _checked(self, grads, variables):
        """Returns gradients, variables and their `tf.Variable`s, all fit for a step."""
        if variables is None and not self.built:
            raise ValueError(
                "`trainable_variables` must be given until the optimizer is built. "
                "Received: trainable_variables=None"
            )
        variables = list(self._trainable_variables if variables is None else variables)
        if len(grads) != len(variables):
            raise ValueError(
                "`grads` must have one gradient for each variable. Received: "
                f"{len(grads)} gradients for {len(variables)} variables"
            )
        if self.built and self._lookup.covers(variables):
            natives = self._lookup.natives
        else:
            if self.built:
                self._check_variables_are_known(variables)
            natives = list(map(native_of, variables))
        grads = [
            gradient
            if fits_as_it_is(gradient, native)
            or gradient is None
            or self._overwrite_variable_with_gradient(variable)
            else checked_gradient(gradient, native)
            for gradient, variable, native in zip(grads, variables, natives)
        ]
        return grads, variables, natives

    def update_step(self, gradient, variable, learning_rate):
        """Applies one gradient to one variable.

        Args:
            gradient: Tensor of the variable's shape, or `tf.IndexedSlices`.
            variable: The variable.
            learning_rate: Float or scalar tensor.
        """
        self._update([gradient], [variable], learning_rate)

    # From here on: Keras' own steps between `apply` and `update_step`, private
    # but unchanged since Keras 3.10. `apply` takes them itself, because Keras'
    # divides by the loss scale in a way that sparse gradients do not support.

    def _apply_checked(self, grads, variables, natives):
        if any(gradient is None for gradient in grads):
            grads, variables = self._filter_empty_gradients(grads, variables)
            natives = list(map(native_of, variables))
        if any(map(self._overwrite_variable_with_gradient, variables)):
            grads, variables = self._overwrite_variables_directly_with_gradients(
                grads, variables
            )
            natives = list(map(native_of, variables))
        if not grads:
            return
        scale = self.loss_scale_factor
        if scale is not None:
            grads = [
                core.map_values(lambda g: g / scale, gradient) for gradient in grads
            ]
        if self.gradient_accumulation_steps:
            grads = list(map(_densified, grads, natives))
        # Keras 2 averages only what has a gradient.
        self._stepped = frozenset(map(id, natives))
        self._backend_apply_gradients(grads, natives)
        self._stepped = None
        for variable in variables:
            constraint = getattr(variable, "constraint", None)
            if constraint is not None:
                variable.assign(constraint(variable))

    def _clip_gradients(self, grads):
        if not (self.clipnorm or self.global_clipnorm or self.clipvalue):
            return grads
        if self.update_rule.clips_slices == "summed":
            # Only sums of duplicates have the gradient's norm.
            grads = [_without_duplicates(gradient) for gradient in grads]
        values = list(map(_values, grads))
        if self.global_clipnorm and self.update_rule.bitwise:
            # As every generation but Keras 3, which rounds the norm differently.
            values, _ = tf.clip_by_global_norm(values, self.global_clipnorm)
        else:
            values = super()._clip_gradients(values)
        return [
            core.map_values(lambda _, v=value: v, gradient)
            for gradient, value in zip(grads, values)
        ]

    def _update_model_variables_moving_average(self, trainable_variables):
        if self.update_rule.average_start == "first_step":
            super()._update_model_variables_moving_average(trainable_variables)
            return
        discount = self.ema_momentum
        for variable, average in zip(
            trainable_variables, self._model_variables_moving_average
        ):
            if average is not None and id(native_of(variable)) in self._stepped:
                average.assign(discount * average + (1 - discount) * variable)

    def _overwrite_model_variables_with_average_value(self, trainable_variables):
        if self.update_rule.average_start == "first_step" or self._stepped is None:
            super()._overwrite_model_variables_with_average_value(trainable_variables)
            return
        for variable, average in zip(
            map(native_of, trainable_variables), self._model_variables_moving_average
        ):
            if average is not None and id(variable) in self._stepped:
                self._distribution_strategy.extended.update(
                    variable, lambda a, b: a.assign(b), args=(average,)
                )

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if tf.distribute.has_strategy() or self._is_distributed():
            super()._backend_update_step(grads, trainable_variables, learning_rate)
        elif type(self).update_step is not Step.update_step:
            for gradient, variable in zip(grads, trainable_variables):
                self.update_step(gradient, variable, learning_rate)
        else:
            # Keras takes every variable through merge_call and extended.update,
            # which costs more than the step itself.
            self._update(grads, trainable_variables, learning_rate)

    def _is_distributed(self):
        return self._distribution_strategy is not tf.distribute.get_strategy()

    def _hyperparameters(self, learning_rate):
        rule = self.update_rule
        learning_rate = tf.convert_to_tensor(learning_rate)
        if rule.reciprocal_root:
            # Keras 2 puts a schedule's value into a variable first. Without something
            # in between, TensorFlow's graph optimizer regroups the product with it.
            learning_rate = tf.ensure_shape(learning_rate, learning_rate.shape)
        return core.Hyperparameters(
            learning_rate=learning_rate,
            **rule.round_hyperparameters(
                rho=self.rho, momentum=self.momentum, epsilon=self.epsilon
            ),
            one_minus_rho=None if rule.uses_kernels else 1 - self.rho,
        )

    def _update(self, grads, variables, learning_rate):
        hyper = self._hyperparameters(learning_rate)
        known = self._lookup.slots_by_id
        slots = [known.get(id(v)) or self._slots(v) for v in variables]
        variables = list(map(native_of, variables))
        if any(issubclass(kind, tf.IndexedSlices) for kind in set(map(type, grads))):
            sparse = [isinstance(gradient, tf.IndexedSlices) for gradient in grads]
            for update in itertools.compress(zip(variables, slots, grads), sparse):
                self._update_sparse(*update, hyper)
            dense = list(map(operator.not_, sparse))
            variables, slots, grads = (
                list(itertools.compress(held, dense))
                for held in (variables, slots, grads)
            )
        if grads:
            self._together.apply(self.update_rule, variables, slots, grads, hyper)

    def _update_sparse(self, variable, slots, gradient, hyper):
        done = _APPLY_SPARSE[self.sparse_updates](
            self.update_rule,
            variable,
            slots,
            gradient.values,
            gradient.indices,
            hyper.cast(variable.dtype),
        )
        core.share_reads(variable, done)

    def _slots(self, variable):
        # Of a Keras variable, or a replica's part of one.
        return self._lookup.slots[self._get_variable_index(variable)]


class Lookup:
    """What Keras looks up per variable and step, kept ready."""

    def __init__(self, variables, velocities, average_gradients, momentums):
        def native(held, index):
            return native_of(held[index]) if held and held[index] is not None else None

        self.variables = list(variables)
        self.natives = list(map(native_of, variables))
        self.slots = [
            core.Slots(
                rms=native(velocities, index),
                mg=native(average_gradients, index),
                momentum=native(momentums, index),
            )
            for index in range(len(variables))
        ]
        self.slots_by_id = dict(zip(map(id, self.natives), self.slots))

    def covers(self, variables):
        """Whether these are exactly the optimizer's variables, in their order."""
        return len(variables) == len(self.variables) and all(
            map(operator.is_, variables, self.variables)
        )


def native_of(variable):
    """Returns the `tf.Variable` behind a variable."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def _without_duplicates(gradient):
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    values, indices = core.sum_duplicates(
        gradient.values,
        gradient.indices,
        gradient.dense_shape[0],
        compiled=core.is_compiled(),
    )
    return tf.IndexedSlices(values, indices, gradient.dense_shape)


def _densified(gradient, variable):
    """Returns the dense tensor that a gradient stands for."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return tf.math.unsorted_segment_sum(
        gradient.values, gradient.indices, variable.shape[0]
    )


def _values(gradient):
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
