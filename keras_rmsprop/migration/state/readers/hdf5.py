"""Reads an `.h5` file of a whole model, in which slots are known by their names."""

import os
import re

from keras_rmsprop.migration.state.optimizer_state import OptimizerState
from keras_rmsprop.migration.state.readers import (
    checked,
    hdf5_file,
    optimizer_config,
    slot_names,
)

_GROUP = "optimizer_weights"
_MODEL = "model_weights"
# RMSprop/iter, in TF1 graphs training/RMSprop/iter
_LEGACY_COUNTER = re.compile("(?P<scope>.+)/iter")
# iteration, later rm_sprop/iteration; the last two are of loss scaling
_SCALARS = re.compile("([^/]+/)?(iteration|learning_rate|step_counter|dynamic_scale)")


def has_optimizer_weights(path):
    """Whether an HDF5 file is one of a whole model with an optimizer."""
    with hdf5_file.opened(path, path, os.path.getsize(path)) as file:
        return _GROUP in file


def read(path):
    """Reads the state in an `.h5` file of `tf_keras`, TensorFlow 1 and 2, or Keras 3.

    Args:
        path: Path of the file.

    Returns:
        An `OptimizerState`.
    """
    with hdf5_file.opened(path, path, os.path.getsize(path)) as file:
        stored = {}
        for name in file.texts(_GROUP, "weight_names"):
            bare = name.removesuffix(":0")
            if bare in stored:
                raise ValueError(f"{path!r} has two optimizer weights {bare!r}.")
            stored[bare] = file.array(f"{_GROUP}/{name}")
        values, not_read = _model_weights(file)
        training_config = file.text("/", "training_config")
    config = optimizer_config.of_training(training_config, path)
    if any(_LEGACY_COUNTER.fullmatch(name) for name in stored):
        state = _legacy(stored, values, config, path)
    else:
        config.check_rmsprop(path)
        state = _keras(stored, values, config, path)
    state.not_read += not_read
    if config.loss_scale and "dynamic_scale" not in state.loss_scale:
        state.not_read += (
            "the loss scale, of which the file has the first value only",
        )
    return state


def rule_name(hyperparameters, default):
    """Returns the name of the update rule in the configuration of an optimizer."""
    rule = hyperparameters.get("update_rule", default)
    rule = rule.get("name") if isinstance(rule, dict) else rule
    return rule if isinstance(rule, str) else default


def _keras(stored, values, config, path):
    """Returns the state of an RMSprop of Keras 2.11 and later."""
    scalars = [name for name in stored if _SCALARS.fullmatch(name)]
    names = [name for name in stored if name not in scalars]
    found = slot_names.of_keras_2(names)
    kind = "keras2"
    if found is None:
        kind = "keras"
        found = {name: slot_names.of_keras(name) for name in names}
        _check_understood(found, path)
        found = _with_paths(found, values)
    counts, loss_scale = [], dict(config.loss_scale)
    for name in scalars:
        word = name.rpartition("/")[2]
        if word == "iteration":
            counts.append(checked.count(stored[name], name, path))
        elif word == "step_counter":
            loss_scale[word] = checked.count(stored[name], name, path)
        elif word == "dynamic_scale":
            loss_scale[word] = checked.number(stored[name], name, path)
    return OptimizerState(
        variables=_variables(stored, found, values, ("rms",), path),
        # The scaling around an optimizer has a counter, too, and leaves it at 0.
        iterations=max(counts, default=None),
        kind=kind,
        update_rule=rule_name(config.hyperparameters, kind),
        hyperparameters=config.hyperparameters,
        origin=path,
        others=_others(found, values),
        loss_scale=loss_scale,
    )


def _legacy(stored, values, config, path):
    """Returns the state of an OptimizerV2, RMSprop or of a class of somebody's own."""
    counters = [name for name in stored if _LEGACY_COUNTER.fullmatch(name)]
    if len(counters) > 1:
        raise ValueError(f"{path!r} has several step counters: {counters}.")
    found = {
        name: _legacy_slot(name, values) for name in stored if name not in counters
    }
    _check_understood(found, path)
    is_rmsprop = config.class_name in (None, "RMSprop")
    strange = {slot for _, slot in found.values()} - {"rms", "momentum", "mg"}
    if is_rmsprop and strange:
        raise ValueError(
            f"{path!r} holds optimizer weights that are not named as those of RMSprop: "
            f"slots {sorted(strange)}."
        )
    return OptimizerState(
        variables=_variables(
            stored, found, values, ("rms",) if is_rmsprop else (), path
        ),
        iterations=checked.count(stored[counters[0]], counters[0], path),
        kind="legacy",
        update_rule="legacy" if is_rmsprop else None,
        hyperparameters=config.hyperparameters,
        origin=path,
        others=_others(found, values),
        loss_scale=config.loss_scale,
    )


def _legacy_slot(name, values):
    """Returns the variable and the slot in RMSprop/dense/kernel/rms, None if none."""
    variable, _, slot = name.rpartition("/")
    scoped = [each for each in values if variable.endswith(f"/{each}")]
    found = max(scoped, key=len) if scoped else variable.partition("/")[2]
    return (found, slot) if found and slot else None


def _with_paths(found, values):
    """Replaces the names of variables that have `_` for `/` by those in `values`.

    Values may lack outer scopes of a name, and one name may end as another does: the
    longest is meant.
    """
    paths = {}
    for flat, _ in found.values():
        fitting = [
            path for path in values if f"_{flat}".endswith(f"_{path.replace('/', '_')}")
        ]
        longest = max(map(len, fitting), default=0)
        fitting = [path for path in fitting if len(path) == longest]
        # Names of which `_` hides the difference.
        paths[flat] = fitting[0] if len(fitting) == 1 else flat
    taken = list(paths.values())
    paths = {flat: p if taken.count(p) == 1 else flat for flat, p in paths.items()}
    return {name: (paths[flat], slot) for name, (flat, slot) in found.items()}


def _check_understood(found, path):
    """Raises a ValueError unless every optimizer weight is known to be a slot."""
    unknown = [name for name, each in found.items() if each is None]
    if unknown or not found:
        raise ValueError(
            f"{path!r} holds optimizer weights that are not named as those of RMSprop: "
            f"{unknown[:10] or 'none'}"
        )


def _variables(stored, found, values, needed, path):
    """Returns the `VariableState`s by name; all have the same slots."""
    slots = {}
    for name, (variable, slot) in found.items():
        of_variable = slots.setdefault(variable, {})
        if slot in of_variable:
            raise ValueError(
                f"{path!r} has two slots {slot!r} of the variable {variable!r}; "
                f"{name!r} is one."
            )
        of_variable[slot] = stored[name]
    wanted = {slot for _, slot in found.values()}.union(needed)
    for variable, arrays in slots.items():
        if wanted != set(arrays):
            raise ValueError(
                f"{path!r} has slots {list(arrays)} of the variable {variable!r}, "
                f"without {sorted(wanted - set(arrays))}."
            )
    return {
        name: checked.variable(name, arrays, values.get(name), path)
        for name, arrays in slots.items()
    }


def _others(found, values):
    trained = {variable for variable, _ in found.values()}
    return {name: value for name, value in values.items() if name not in trained}


def _model_weights(file):
    """Returns the values of the model's weights by name, and what is left out."""
    values, unclear = {}, []
    layers = file.texts(_MODEL, "layer_names") if _MODEL in file else []
    for layer in [*layers, "top_level_model_weights"]:
        group = f"{_MODEL}/{layer}"
        for name in file.texts(group, "weight_names") if group in file else ():
            bare = name.removesuffix(":0")
            # Keras 3.0 had no paths here: of two layers, both had a `kernel`.
            bare = bare if "/" in bare else f"{layer}/{bare}"
            value = file.array(f"{group}/{name}")
            if bare in values and values[bare].tobytes() != value.tobytes():
                unclear.append(bare)
            # A layer that two models share is there twice.
            values[bare] = value
    for name in unclear:
        values.pop(name, None)
    return values, tuple(
        f"the values of {name!r}, the name of several weights"
        for name in dict.fromkeys(unclear)
    )
