"""Steps that decide at run time whether they update, on the replicas of a strategy.

Keras updates variables in a call in which all replicas merge, and TensorFlow allows
none within a `tf.cond`: gradients could not be accumulated, nor variables overwritten
by their averages, in a function that a strategy runs. Where each replica has its own
copy of each variable it can update that copy itself, once gradients are summed.
"""

import tensorflow as tf

from keras_rmsprop.sharding import native_of


class Replicas:
    """How `keras_rmsprop.RMSprop` changes variables under a strategy.

    Stands before `keras.optimizers.Optimizer` among its bases. What it overrides are
    Keras' own steps, private but unchanged since Keras 3.10.
    """

    def _updates_own_copies(self):
        """Whether this is a step of one replica that may neither merge nor share."""
        decides = self.gradient_accumulation_steps or (
            self.use_ema and self.ema_overwrite_frequency
        )
        if (
            not decides
            or not tf.distribute.has_strategy()
            or tf.distribute.in_cross_replica_context()
        ):
            return False
        if tf.distribute.get_strategy().num_replicas_in_sync == 1:
            return True
        natives = map(native_of, self._trainable_variables)
        return all(isinstance(v, tf.distribute.DistributedValues) for v in natives)

    def _update_own_copies(self, grads, variables, learning_rate):
        for gradient, variable in zip(grads, variables):
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
                _assign(variable, variable - variable * decay * rate)

    def _overwrite_model_variables_with_average_value(self, trainable_variables):
        own = self._updates_own_copies()
        for variable, average in self._with_averages(trainable_variables):
            variable = native_of(variable)
            if own:
                with tf.device(variable.device):
                    _assign(variable, average)
            else:
                self._distribution_strategy.extended.update(
                    variable, lambda a, b: a.assign(b), args=(average,)
                )


def _assign(variable, value):
    # Not `variable.assign`, which would merge for variables with an `aggregation`: the
    # value is that of all replicas already.
    value = tf.convert_to_tensor(value)
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=value)
