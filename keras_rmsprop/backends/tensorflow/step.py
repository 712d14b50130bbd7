"""The step on TensorFlow: what comes before the update and after it."""

import keras
import tensorflow as tf

from keras_rmsprop import core, sharding
from keras_rmsprop.annotations import Gradients, Variables
from keras_rmsprop.backends import common
from keras_rmsprop.backends.tensorflow.update import Lookup, Update, without_duplicates
from keras_rmsprop.gradients import checked_gradient, fits_as_it_is, step_assertions
from keras_rmsprop.sharding import native_of


class Step(Update):
    """How `keras_rmsprop.RMSprop` takes a step."""

    _lookup = None

    # Nothing below decides on tensors in Python, so a user's tf.function has
    # nothing to gain from rewriting it, as AutoGraph otherwise would.
    apply_gradients = tf.autograph.experimental.do_not_convert(
        common.Step.apply_gradients
    )

    @tf.autograph.experimental.do_not_convert
    def apply(
        self, grads: Gradients, trainable_variables: Variables | None = None
    ) -> None:
        """Applies one step.

        Args:
            grads: List with a gradient for each variable: a tensor of the
                variable's shape, a `tf.IndexedSlices`, or None to leave the
                variable alone. That of a `ShardedVariable` may also be a list
                with one for each of its shards.
            trainable_variables: List of the variables, in the same order.
                Defaults to those that the optimizer was built with.

        Raises:
            TypeError: If `trainable_variables` is no list of variables.
            ValueError: If gradients and variables do not fit, before any of
                them changes.
        """
        grads = list(grads)
        if not grads:
            return
        grads, variables, natives = self._ready(grads, trainable_variables)
        if not (self._traced or tf.executing_eagerly()):
            self._traced = True
        with (
            keras.name_scope(self.name, caller=self),
            tf.control_dependencies(step_assertions(zip(grads, natives))),
        ):
            self._apply_checked(grads, variables, natives)
            # Keras' own `assign_add` reads, adds and assigns.
            native_of(self._iterations).assign_add(1, read_value=False)

    def _ready(self, grads, variables):
        """Returns gradients, variables and their `tf.Variable`s, all fit for a step."""
        variables = self._variables_for(grads, variables)
        covered = self.built and self._lookup.covers(variables)
        if not covered:
            self._check_variables(grads, variables)
            pairs = sharding.pairs_of_shards(zip(grads, variables))
            grads, variables = map(list, zip(*pairs))
        natives = self._lookup.natives if covered else list(map(native_of, variables))
        grads = [
            gradient
            if fits_as_it_is(gradient, native)
            or gradient is None
            or self._overwrite_variable_with_gradient(variable)
            else checked_gradient(gradient, native)
            for gradient, variable, native in zip(grads, variables, natives)
        ]
        if not covered:
            self._take_on(variables)
        return grads, variables, natives

    def _check_trainable(self, variable):
        strategy = self._distribution_strategy
        if not strategy.extended.variable_created_in_scope(native_of(variable)):
            raise ValueError(
                "`variables` must belong to the `tf.distribute.Strategy` in whose "
                f"scope the optimizer was made, {type(strategy).__name__}. "
                f"Received: {variable.name!r} of another one. Make both in the "
                "same scope."
            )

    def _look_up(self):
        self._together = core.Together()
        # To look a variable up in Keras costs more than to update a small one.
        self._lookup = Lookup(
            self._trainable_variables,
            self._velocities,
            self._average_gradients,
            self._momentums,
        )

    def _trackable_children(self, save_type="checkpoint", **kwargs):
        # What TensorFlow asks objects for that a checkpoint holds, since 2.9.
        children = super()._trackable_children(save_type, **kwargs)
        return sharding.with_tables(children, self._trainable_variables)

    # From here on: Keras' own steps between `apply` and `update_step`, private
    # but unchanged since Keras 3.10. `apply` takes them itself, because Keras'
    # divides by the loss scale in a way that sparse gradients do not support, clips
    # before the sum over replicas, and goes through the variables by position.

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
        self._backend_apply_gradients(grads, natives)
        for variable in variables:
            constraint = getattr(variable, "constraint", None)
            if constraint is not None:
                variable.assign(constraint(variable))

    def _backend_apply_gradients(self, grads, variables):
        if self._is_distributed():
            # Before they are clipped, as the gradients of the joint batch are.
            pairs = self._all_reduce_sum_gradients(list(zip(grads, variables)))
            grads = [gradient for gradient, _ in pairs]
        if self.gradient_accumulation_steps:
            self._accumulate(grads, variables)
        else:
            self._apply_clipped(self._clip_gradients(grads, variables), variables)
        if self.use_ema:
            self._average(variables)

    def _apply_clipped(self, grads, variables):
        self._apply_weight_decay(variables)
        self._backend_update_step(grads, variables, self.learning_rate)

    def _accumulate(self, grads, variables):
        steps = self.gradient_accumulation_steps
        sums = [
            native_of(self._accumulated_gradients[self._get_variable_index(variable)])
            for variable in variables
        ]
        due = self._is_every(steps, self._iterations)

        def clipped():
            means = [(gradient + held) / steps for gradient, held in zip(grads, sums)]
            return self._clip_gradients(means, variables)

        def update():
            self._apply_clipped(clipped(), variables)
            for held in sums:
                held.assign(tf.zeros_like(held), read_value=False)

        def hold():
            for held, gradient in zip(sums, grads):
                held.assign_add(gradient, read_value=False)

        if self._is_distributed():
            # Replicas cannot meet in a branch. Each takes its own for every variable.
            self._update_copies(
                self._update_or_hold,
                zip(variables, clipped(), grads, sums),
                (self.learning_rate, due),
            )
        else:
            tf.cond(due, update, hold)

    def _update_or_hold(self, variable, clipped, gradient, held, learning_rate, due):
        def update():
            if self.weight_decay is not None and self._use_weight_decay(variable):
                decay = tf.cast(self.weight_decay, variable.dtype)
                rate = tf.cast(learning_rate, variable.dtype)
                variable.assign_sub(variable * decay * rate, read_value=False)
            self.update_step(clipped, variable, learning_rate)
            held.assign(tf.zeros_like(held), read_value=False)

        def hold():
            held.assign_add(gradient, read_value=False)

        tf.cond(due, update, hold)

    def _update_copies(self, function, updates, arguments=()):
        """Calls a function with every replica's copy of variables, outside replicas.

        Args:
            function: Takes a variable's copy, the rest of its update, `arguments`.
            updates: Iterable of tuples, each of a variable and what goes with it.
            arguments: Tuple of what goes with all.
        """

        def update_all(strategy, updates, arguments):
            for variable, *rest in updates:
                strategy.extended.update(
                    variable, function, args=(*rest, *arguments), group=False
                )

        tf.__internal__.distribute.interim.maybe_merge_call(
            update_all, self._distribution_strategy, list(updates), arguments
        )

    def _average(self, stepped):
        averaged = self._trainable_variables
        if self.update_rule.average_start == "variable":
            averaged = stepped  # Keras 2 averages only what has a gradient.
        self._update_model_variables_moving_average(averaged)
        if not self.ema_overwrite_frequency:
            return
        due = self._is_every(self.ema_overwrite_frequency, self.iterations)
        if self._is_distributed():
            self._update_copies(
                lambda variable, average, due: variable.assign(
                    tf.where(due, average, variable), read_value=False
                ),
                (
                    (native_of(variable), native_of(average))
                    for variable, average in self._with_averages(averaged)
                ),
                (due,),
            )
        else:
            tf.cond(
                due,
                lambda: self._overwrite_model_variables_with_average_value(averaged),
                lambda: None,
            )

    def _is_every(self, count, iterations):
        """Whether the step that is being taken is one of every `count`."""
        return tf.equal((tf.convert_to_tensor(iterations) + 1) % count, 0)

    def _clip_gradients(self, grads, variables=()):
        if not (self.clipnorm or self.global_clipnorm or self.clipvalue):
            return grads
        if self.update_rule.clips_slices == "summed":
            # Only sums of duplicates have the gradient's norm.
            grads = [without_duplicates(gradient) for gradient in grads]
        values = list(map(_values, grads))
        if self.global_clipnorm and self.update_rule.bitwise:
            # As every generation but Keras 3, which rounds the norm differently.
            values, _ = tf.clip_by_global_norm(values, self.global_clipnorm)
        elif self.clipnorm and any(map(sharding.table_of, variables)):
            values = sharding.clipped_by_norm(values, variables, self.clipnorm)
        else:
            values = super()._clip_gradients(values)
        return [
            core.map_values(lambda _, v=value: v, gradient)
            for gradient, value in zip(grads, values)
        ]

    def _overwrite_model_variables_with_average_value(self, trainable_variables):
        for variable, average in self._with_averages(trainable_variables):
            self._distribution_strategy.extended.update(
                native_of(variable), lambda a, b: a.assign(b), args=(average,)
            )

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if self._is_distributed():
            self._update_copies(
                lambda variable, gradient, rate: self.update_step(
                    gradient, variable, rate
                ),
                zip(trainable_variables, grads),
                (learning_rate,),
            )
        elif type(self).update_step is not common.Step.update_step:
            for gradient, variable in zip(grads, trainable_variables):
                self.update_step(gradient, variable, learning_rate)
        else:
            # Keras takes every variable through merge_call and extended.update,
            # which costs more than the step itself.
            self._update(grads, trainable_variables, learning_rate)

    def _is_distributed(self):
        strategy = self._distribution_strategy
        return (
            tf.distribute.has_strategy() or strategy is not tf.distribute.get_strategy()
        )


def _densified(gradient, variable):
    """Returns the dense tensor that a gradient stands for."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return tf.math.unsorted_segment_sum(
        gradient.values, gradient.indices, variable.shape[0]
    )


def _values(gradient):
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
