"""Copies of an optimizer as TensorFlow's checkpoints see it.

An optimizer's lists of variables are found in checkpoints under the names of their
attributes, and a list may only be appended to; what a checkpoint holds for entries
that do not exist yet waits in the list for them. Hence a list that was tried and
given up cannot be cut back: it is made anew, and takes over what waits.
`_lookup_dependency`, `_handle_deferred_dependencies` and the attribute behind them
are TensorFlow's hooks for subclasses of its `Trackable`, unchanged since 2.5;
`_tracker` is where a Keras optimizer notes its variables, since Keras 3.0.
"""

import contextlib
import copy

import tensorflow as tf

from keras_rmsprop.backends.tracking import set_variables
from keras_rmsprop.sharding import expanded, restored_as_tables

__all__ = [
    "expanded",
    "outside_functions",
    "restored_as_tables",
    "set_list",
    "set_slots",
    "set_variables",
    "twin",
]


@contextlib.contextmanager
def outside_functions(strategy):
    """Has variables made now and for good, also while a function is being traced.

    A `tf.function` refuses variables in all but its first trace, even those made in
    `tf.init_scope`, by what it puts on its graph. So this is another graph, which
    eager execution makes no other use of.

    Args:
        strategy: The `tf.distribute.Strategy` that has them made. Nothing is known of
            it in that graph, nor in what a coordinator runs elsewhere.
    """
    with contextlib.ExitStack() as scopes:
        if not tf.executing_eagerly():
            scopes.enter_context(tf.Graph().as_default())
            scopes.enter_context(tf.__internal__.eager_context.eager_mode())
        if not tf.distribute.has_strategy():
            scopes.enter_context(strategy.scope())
        yield


def twin(optimizer):
    """Returns a copy that shares the variables and can be built on its own.

    Args:
        optimizer: A `keras.optimizers.Optimizer`.

    Returns:
        One of the same type, which waits for the same restores. Whatever is made or
        tracked in it, the other does not notice.
    """
    own = object.__new__(type(optimizer))
    for name, value in vars(optimizer).items():
        if type(value) in (list, dict, set):
            value = copy.copy(value)
        vars(own)[name] = value
    tracked = optimizer._lookup_dependency("_variables")
    set_slots(own, "_variables", list(tracked))
    whole = tracked is optimizer._variables
    set_variables(own, own._variables if whole else list(optimizer._variables))
    own._trainable_variables_indices = {}
    return own


def set_list(optimizer, name, values):
    """Sets a list attribute without taking what it holds for new variables."""
    tracker = vars(optimizer).pop("_tracker")
    try:
        setattr(optimizer, name, values)
    finally:
        vars(optimizer)["_tracker"] = tracker


def set_slots(optimizer, name, values):
    """Sets a list of slots; what waited for entries of the former is restored."""
    former = optimizer._lookup_dependency(name)
    set_list(optimizer, name, values)
    held = optimizer._lookup_dependency(name)
    waiting = getattr(former, "_self_unconditional_deferred_dependencies", {})
    if held is former or not waiting:
        return
    held._self_unconditional_deferred_dependencies.update(waiting)
    for index, variable in enumerate(values):
        if str(index) in waiting:
            held._handle_deferred_dependencies(str(index), variable)
