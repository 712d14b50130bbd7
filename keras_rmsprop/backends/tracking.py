"""Copies of an optimizer that build on their own, where nothing else looks into them.

TensorFlow, which saves objects and shards variables, has the same functions with more
in them. `_tracker` is where a Keras optimizer notes its variables, since Keras 3.0.
"""

import contextlib
import copy


def expanded(variables):
    """Returns a list of variables, none of which is a table of shards."""
    return list(variables)


def outside_functions(optimizer):
    """Returns a context in which an optimizer's variables are made for good."""
    return contextlib.nullcontext()


def restored_as_tables(optimizer, variables):
    """Returns a context for making slots, for which nothing waits."""
    return contextlib.nullcontext()


def twin(optimizer):
    """Returns a copy that shares the variables and can be built on its own.

    Args:
        optimizer: A `keras.optimizers.Optimizer`.

    Returns:
        One of the same type. Whatever is made or tracked in it, the other does not
        notice.
    """
    own = object.__new__(type(optimizer))
    for name, value in vars(optimizer).items():
        if type(value) in (list, dict, set):
            value = copy.copy(value)
        vars(own)[name] = value
    set_variables(own, list(optimizer._variables))
    own._trainable_variables_indices = {}
    return own


def set_variables(optimizer, variables):
    """Makes this list the optimizer's `variables`."""
    former = optimizer._tracker
    is_variable, _ = former.config["variables"]
    vars(optimizer)["_variables"] = variables
    tracker = type(former)({"variables": (is_variable, variables)})
    tracker.stored_ids["variables"].update(map(id, variables))
    vars(optimizer)["_tracker"] = tracker


def set_list(optimizer, name, values):
    """Sets a list attribute, whose entries are no new variables of the optimizer."""
    vars(optimizer)[name] = values


set_slots = set_list
