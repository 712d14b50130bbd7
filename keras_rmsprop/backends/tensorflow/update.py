"""The update on TensorFlow: gradients, variables and their slots, put to the core."""

import itertools
import operator

import tensorflow as tf

from keras_rmsprop import core
from keras_rmsprop.backends import common
from keras_rmsprop.sharding import native_of

_APPLY_SPARSE = {"lazy": core.apply_sparse, "dense": core.apply_sparse_as_dense}


class Update(common.Step):
    """How `keras_rmsprop.RMSprop` updates variables, given clipped gradients."""

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
        variables = list(map(native_of, variables))
        if any(issubclass(kind, tf.IndexedSlices) for kind in set(map(type, grads))):
            sparse = [isinstance(gradient, tf.IndexedSlices) for gradient in grads]
            for update in itertools.compress(zip(variables, grads), sparse):
                self._update_sparse(*update, hyper)
            dense = list(map(operator.not_, sparse))
            variables, grads = (
                list(itertools.compress(held, dense)) for held in (variables, grads)
            )
        if grads:
            self._together.apply(
                self.update_rule, variables, self._slots_of, grads, hyper
            )

    def _update_sparse(self, variable, gradient, hyper):
        done = _APPLY_SPARSE[self.sparse_updates](
            self.update_rule,
            variable,
            self._slots_of(variable),
            gradient.values,
            gradient.indices,
            hyper.cast(variable.dtype),
        )
        core.share_reads(variable, done)

    def _slots_of(self, variable):
        # Of a variable, or a replica's part of one.
        return (
            self._lookup.slots_by_id.get(id(variable))
            or self._lookup.slots[self._get_variable_index(variable)]
        )


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


def without_duplicates(gradient):
    """Returns the gradient with slices that share an index summed."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    values, indices = core.sum_duplicates(
        gradient.values,
        gradient.indices,
        gradient.dense_shape[0],
        compiled=core.is_compiled(),
    )
    return tf.IndexedSlices(values, indices, gradient.dense_shape)
