"""Steps that decide at run time whether they update, on the replicas of a strategy.

Keras updates variables in a call in which all replicas merge, and TensorFlow allows
none within a `tf.cond`: gradients cannot be accumulated, nor variables overwritten by
their averages, in a function that a strategy runs. Where each replica has its own copy
of each variable it can update that copy itself, once gradients are summed.
"""

import tensorflow as tf

from keras_rmsprop.sharding import native_of


class Replicas:
    """How `keras_rmsprop.RMSprop` takes such a step.

    Stands before `keras.optimizers.Optimizer` among its bases. What is overridden are
    Keras' own steps, private but unchanged since Keras 3.10.
    """

    def _backend_apply_gradients(self, grads, trainable_variables):
        if self._updates_own_copies() and _replicas() > 1:
            context = tf.distribute.get_replica_context()
            grads = context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
            # No replica changes anything unless the checks of all have passed.
            with tf.control_dependencies(tf.nest.flatten(grads, expand_composites=True)):
                super()._backend_apply_gradients(grads, trainable_variables)
        else:
            super()._backend_apply_gradients(grads, trainable_variables)

    def _updates_own_copies(self):
        """Whether this is a step of one replica that may neither merge nor share."""
        decides = self.gradient_accumulation_steps or (
            self.use_ema and self.ema_overwrite_frequency
        )
        if not decides or tf.distribute.in_cross_replica_context():
            return False
        return tf.distribute.has_strategy() and (
            _replicas() == 1
            or all(
                isinstance(native_of(variable), tf.distribute.DistributedValues)
                for variable in self._trainable_variables
            )
        )

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if not self._updates_own_copies():
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        for gradient, variable in zip(grads, trainable_variables):
            with tf.device(variable.device):
                self.update_step(gradient, variable, learning_rate)

    def _apply_weight_decay(self, variables):
        if self.weight_decay is None or not self._updates_own_copies():
            super()._apply_weight_decay(variables)
            return
        for variable in filter(self._use_weight_decay, variables):
            with tf.device(variable.device):
                rate = tf.cast(self.learning_rate, variable.dtype)
                decay = tf.cast(self.weight_decay, variable.dtype)
                tf.raw_ops.AssignSubVariableOp(
                    resource=variable.handle, value=variable * decay * rate
                )

    def _overwrite(self, variable, average):
        """Sets a variable to the value of its average."""
        if self._updates_own_copies():
            with tf.device(variable.device):
                _assign(variable, average)
        else:
            self._distribution_strategy.extended.update(
                variable, lambda a, b: a.assign(b), args=(average,)
            )

    def _backend_increment_gradient_accumulators(self, grads, acc_grads):
        if not self._updates_own_copies():
            super()._backend_increment_gradient_accumulators(grads, acc_grads)
            return
        for gradient, accumulated in zip(grads, map(native_of, acc_grads)):
            with tf.device(accumulated.device):
                _assign(accumulated, accumulated + gradient)


def _replicas():
    return tf.distribute.get_strategy().num_replicas_in_sync


def _assign(variable, value):
    # Whatever its `aggregation`: the value is that of all replicas already.
    value = tf.convert_to_tensor(value)
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
