"""The gradients of an OptimizerV2: how they are taken, summed and clipped."""

from typing import Any

import tensorflow as tf

from keras_rmsprop import mistakes, sharding
from keras_rmsprop.annotations import Variables
from keras_rmsprop.sharding import native_of
from keras_rmsprop.validation import check_number

_CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")


class Gradients:
    """The part of `Optimizer` between a loss and the gradients of a step."""

    def __init__(self, aggregator, transformers, clipping):
        self.gradient_aggregator = aggregator or _all_reduce_sum
        self.gradient_transformers = transformers or []
        for name in _CLIPPING:
            setattr(self, name, clipping.get(name))

    def __setattr__(self, name, value):
        if name in _CLIPPING:
            self._check_clipping(name, value)
        super().__setattr__(name, value)

    def _compute_gradients(self, loss, var_list, grad_loss=None, tape=None):
        """Returns the list of `(gradient, variable)`; gradients may be None."""
        if not callable(loss) and tape is None:
            raise ValueError(
                "`tape` is required when `loss` is a tensor. "
                f"Received: loss={loss}, tape=None"
            )
        if mistakes.is_model(var_list):  # It could be called as well.
            mistakes.list_of_variables("var_list", var_list)
        tape = tape or tf.GradientTape()
        if callable(loss):
            with tape:
                if not callable(var_list):
                    tape.watch([native_of(v) for v in _flat(var_list)])
                loss = loss()
                var_list = var_list() if callable(var_list) else var_list
        with tape:
            loss = self._transform_loss(self.scale_loss(loss))
        var_list = _flat(var_list)
        natives = self._natives(var_list)
        with tf.name_scope(self._name + "/gradients"):
            pairs = self._get_gradients(tape, loss, natives, grad_loss)
        self._assert_valid_dtypes([v for g, v in pairs if g is not None])
        # Variables go back as they came, because Keras' know their constraints.
        return [(g, var) for (g, _), var in zip(pairs, var_list)]

    def _transform_loss(self, loss):
        """Changes the loss before gradients are taken. For subclasses."""
        return loss

    def _get_gradients(self, tape, loss, var_list, grad_loss=None):
        """Takes the gradients in `minimize`. For subclasses."""
        return list(zip(tape.gradient(loss, var_list, grad_loss), var_list))

    def get_gradients(self, loss: Any, params: Variables) -> list[Any]:
        """Returns the gradients of a loss, in a graph.

        Args:
            loss: Tensor.
            params: List of variables.

        Raises:
            RuntimeError: If executed eagerly.
            ValueError: If the loss has no gradient with respect to a variable.
        """
        if tf.executing_eagerly():
            raise RuntimeError(
                "`get_gradients` and `get_updates` need a graph, as under "
                "`with tf.Graph().as_default()`; executed eagerly, a loss does not "
                "know how it was computed. Use `tf.GradientTape` or `minimize`."
            )
        params = tf.nest.flatten(params)
        with tf.name_scope(self._name + "/gradients"):
            grads = tf.gradients(loss, [native_of(param) for param in params])
        for grad, param in zip(grads, params):
            if grad is None:
                raise ValueError(
                    f"`loss` must have a gradient for each variable. Received: none "
                    f"for {param.name!r}. Does the loss depend on it, through "
                    "differentiable operations only?"
                )
        return grads

    def _transform_unaggregated_gradients(self, grads_and_vars):
        """Changes gradients before they are summed over replicas. For subclasses."""
        return grads_and_vars

    def _aggregate_gradients(self, grads_and_vars):
        """Sums gradients over replicas. For subclasses."""
        return self.gradient_aggregator(grads_and_vars)

    def _transform_gradients(self, grads_and_vars):
        """Clips summed gradients and applies the `gradient_transformers`."""
        pairs = grads_and_vars
        if self.clipvalue is not None:
            bound = self.clipvalue
            pairs = [(tf.clip_by_value(g, -bound, bound), v) for g, v in pairs]
        if self.clipnorm is not None:
            grads, variables = zip(*pairs)
            grads = sharding.clipped_by_norm(grads, variables, self.clipnorm)
            pairs = list(zip(grads, variables))
        if self.global_clipnorm is not None:
            grads, variables = zip(*pairs)
            grads, _ = tf.clip_by_global_norm(grads, self.global_clipnorm)
            pairs = list(zip(grads, variables))
        for transform in self.gradient_transformers:
            pairs = transform(pairs)
        return pairs

    def _check_clipping(self, name, value):
        if value is None:
            return
        check_number(name, value)
        if self.gradient_transformers:
            raise ValueError(
                f"`{name}` cannot be set together with `gradient_transformers`, "
                f"which can clip as well. Received: {name}={value!r}"
            )
        norms = ["clipnorm", "global_clipnorm"]
        if name in norms:
            norms.remove(name)
            if self.__dict__.get(norms[0]) is not None:
                raise ValueError(
                    f"`{name}` and `{norms[0]}` cannot both be set. Received: "
                    f"{name}={value!r}, {norms[0]}={getattr(self, norms[0])!r}"
                )


def _flat(var_list):
    return sharding.expanded(tf.nest.flatten(var_list))


def _all_reduce_sum(grads_and_vars):
    """Sums gradients over replicas."""
    if not tf.distribute.has_strategy():
        return grads_and_vars
    grads, variables = zip(*grads_and_vars)
    context = tf.distribute.get_replica_context()
    summed = context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
    return list(zip(summed, variables))
