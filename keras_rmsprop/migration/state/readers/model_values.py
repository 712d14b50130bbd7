"""Finds the variables of a model that the arrays of a Keras 3 file are the values of.

Such a file has an array by the place of its variable: `layers/dense_1/vars/0` is the
first variable of the second `Dense` among the model's `layers`. Only a model of the
same structure can tell which that is.
"""

import re

from keras_rmsprop.migration.state.live import name_of

# What `OptimizerState.not_read` says where no model was given.
UNNAMED = "the values of the variables, which only a model can name"


def read(weights, model):
    """Returns the values of the model's variables, as far as the model tells.

    Args:
        weights: A `weights_file.Weights`.
        model: A Keras model, or None.

    Returns:
        A dictionary of the values of trainable variables by name, one of those of
        other variables, and a tuple of texts: what was left out.
    """
    of_model = {
        path: group
        for path, group in weights.groups.items()
        if path.partition("/")[0] not in ("optimizer", "metrics") and group
    }
    if model is None:
        return {}, {}, (UNNAMED,) if of_model else ()
    trainable = {id(variable) for variable in model.trainable_variables}
    values, others, not_read = {}, {}, []
    for path, group in of_model.items():
        found = _variables(model, path, group)
        if found is None:
            not_read.append(f"{path!r}, of which the model has no like")
            continue
        for key, variable in found.items():
            kind = values if id(variable) in trainable else others
            kind[name_of(variable)] = group[key]
    return values, others, tuple(not_read)


def _variables(model, path, group):
    """Returns the variables of a group's arrays by key, or None if that is unclear."""
    saveable = _at(model, path)
    if saveable is None:
        return None
    # What the layer would write there, instead of a file's arrays the variables.
    store = {}
    saveable.save_own_variables(store)
    known = {id(variable) for variable in getattr(saveable, "variables", ())}
    fits = set(store) == set(group) and all(
        id(variable) in known and tuple(variable.shape) == group[key].shape
        for key, variable in store.items()
    )
    return store if fits else None


def _at(model, path):
    """Returns the part of a model at a path in a file, None if there is none."""
    at = model
    for part in path.split("/") if path else ():
        if isinstance(at, (list, tuple, dict)):
            at = _in_list(at, part)
        else:
            # Only what an object has: a path is the word of a stranger.
            is_part = not part.startswith("__") and part in dir(at)
            at = getattr(at, part, None) if is_part else None
        if at is None:
            return None
    return at if hasattr(at, "save_own_variables") else None


def _in_list(items, part):
    """Returns the item that Keras calls by its class and number in a list."""
    seen = {}
    for item in items.values() if isinstance(items, dict) else items:
        if isinstance(item, (list, tuple, dict)):
            name = "container"
        elif hasattr(item, "save_own_variables"):
            name = _snake_case(type(item).__name__)
        else:
            continue
        number = seen.get(name, 0)
        seen[name] = number + 1
        if part == (f"{name}_{number}" if number else name):
            return item
    return None


def _snake_case(name):
    """Returns the name of a class as Keras writes it in paths.

    Example:

    >>> _snake_case("LSTMCell"), _snake_case("Conv2D")
    ('lstm_cell', 'conv2d')
    """
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
