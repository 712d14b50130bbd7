"""Reads Keras 3's `.keras` and `.weights.h5` files, in which slots have no names.

The optimizer's arrays are numbered: the step count, the learning rate unless it is a
schedule, and then one array per trainable variable and kind of slot.
"""

import collections
import io
import itertools
import os
import re
import zipfile

import keras
import numpy as np

from keras_rmsprop.migration.state import file_format
from keras_rmsprop.migration.state.live import name_of
from keras_rmsprop.migration.state.optimizer_state import OptimizerState
from keras_rmsprop.migration.state.readers import (
    checked,
    model_values,
    optimizer_config,
    weights_file,
)
from keras_rmsprop.migration.state.readers.hdf5 import rule_name
from keras_rmsprop.update_rule import UpdateRule

_OPTIMIZER = "optimizer"
_INNER = "optimizer/inner_optimizer"
_WEIGHTS = "model.weights.h5"
_CONFIG = "config.json"
_METADATA = "metadata.json"
# What an optimizer may hold if only the file of its weights is known.
_POSSIBLE_SLOTS = (
    ("rms",),
    ("rms", "momentum"),
    ("rms", "mg"),
    ("rms", "momentum", "mg"),
)
# Keras' classes, as their objects are named by default.
_OTHER_CLASSES = {
    name.lower()
    for name, each in vars(keras.optimizers).items()
    if isinstance(each, type) and issubclass(each, keras.optimizers.Optimizer)
} - {"optimizer", "rmsprop", "lossscaleoptimizer"}


def read_weights(path, variables=None, centered=None):
    """Reads a `.weights.h5` file, which does not hold the optimizer's arguments.

    Args:
        path: Path of the file.
        variables: The model, or its trainable variables for their names and shapes.
        centered: Whether the optimizer is centered, where the file does not tell.

    Returns:
        An `OptimizerState`.
    """
    return _read_weights(weights_file.read(path), variables, centered)


def read_divided_weights(path, variables=None, centered=None):
    """Reads a `.weights.json` file and those it lists; see `read_weights`."""
    return _read_weights(weights_file.read_divided(path), variables, centered)


def read_archive(path, variables=None):
    """Reads a `.keras` file.

    Args:
        path: Path of the file.
        variables: The model, or its trainable variables for their names and shapes.

    Returns:
        An `OptimizerState`.
    """
    members = _members(path)
    config = optimizer_config.from_json(members[_CONFIG], path, _CONFIG)
    metadata = optimizer_config.from_json(members[_METADATA], path, _METADATA)
    compiled = config.get("compile_config") if isinstance(config, dict) else None
    if not isinstance(compiled, dict):
        raise ValueError(f"{path!r} holds a model that was not compiled.")
    config = optimizer_config.parsed(compiled.get("optimizer"), path)
    config.check_rmsprop(path)
    kind = "legacy" if config.is_legacy else "keras"
    version = metadata.get("keras_version") if isinstance(metadata, dict) else None
    if str(version).startswith("2.") and not config.is_legacy:
        kind = "keras2"
    weights = weights_file.Weights(path)
    weights.add(io.BytesIO(members[_WEIGHTS]), len(members[_WEIGHTS]))
    state = _state(
        weights, [_slots(config, kind, path)], variables, kind, config.loss_scale
    )
    state.update_rule = rule_name(config.hyperparameters, kind)
    # A number that is an array has what it was set to last.
    state.hyperparameters = {**config.hyperparameters, **state.hyperparameters}
    return state


def _members(path):
    """Returns the members of a `.keras` file that are read, as bytes."""
    size = os.path.getsize(path)
    with (
        file_format.archive_errors(path, "a valid .keras file"),
        zipfile.ZipFile(path) as archive,
    ):
        members = {}
        for name in (_METADATA, _CONFIG, _WEIGHTS):
            info = archive.getinfo(name)
            if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
                raise ValueError(
                    f"its {name!r} is compressed, which Keras does not do, and may "
                    "need any amount of memory; put it into an archive without "
                    "compression"
                )
            members[name] = archive.read(name)
    return members


def _slots(config, kind, path):
    """Returns the kinds of slots that an optimizer of a configuration has, in order."""
    given = config.hyperparameters
    try:
        # Of Keras 2, the slots are those of Keras 3.
        rule = UpdateRule.get(
            given.get("update_rule", "legacy" if kind == "legacy" else "keras")
        )
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"The optimizer's configuration in {path!r}: {error}"
        ) from error
    held = {
        "average": given.get("use_ema"),
        "gradient_accumulator": given.get("gradient_accumulation_steps"),
        "rms": True,
        "momentum": rule.has_momentum_slot(given.get("momentum")),
        "mg": given.get("centered"),
    }
    return tuple(slot for slot, is_held in held.items() if is_held)


def _read_weights(weights, variables, centered):
    name = weights.names.get(_INNER, weights.names.get(_OPTIMIZER))
    if name is not None and re.sub("[^a-z]", "", name.lower()) in _OTHER_CLASSES:
        raise ValueError(
            f"{weights.origin!r} holds the state of an optimizer {name!r}, not of "
            "RMSprop."
        )
    # Only `keras_rmsprop.legacy` stores its hyperparameters by name.
    kind = "legacy" if "rho" in weights.groups.get(_OPTIMIZER, {}) else "keras"
    possible = [slots for slots in _POSSIBLE_SLOTS if centered in (None, "mg" in slots)]
    state = _state(weights, possible, variables, kind, {})
    state.update_rule = "legacy" if kind == "legacy" else None
    if name is None:
        state.not_read += (
            "the class of the optimizer and the generation of Keras, which the file "
            "does not name",
        )
    return state


def _state(weights, possible, variables, kind, loss_scale):
    """Divides the optimizer's arrays among the variables and returns the state."""
    if _OPTIMIZER not in weights.groups:
        raise ValueError(
            f"{weights.origin!r} holds no optimizer state: it has no "
            f"'{_OPTIMIZER}/vars'."
        )
    held, not_read = {}, ()
    if loss_scale or _INNER in weights.groups:
        held, not_read = _loss_scale(weights)
    path = _INNER if _INNER in weights.groups else _OPTIMIZER
    arrays, named = weights.numbered(path)
    # The model, or only some of its variables.
    model = variables if hasattr(variables, "trainable_variables") else None
    if model is not None:
        variables = model.trainable_variables
    head, blocks = _division(weights, arrays, possible, variables)
    hyperparameters = {
        name: checked.number(value, name, weights.origin)
        for name, value in named.items()
    }
    if head == 2:
        hyperparameters["learning_rate"] = checked.number(
            arrays[1], "learning_rate", weights.origin
        )
    count = len(blocks["rms"])
    names = [str(i) for i in range(count)]
    if variables is not None:
        names = [name_of(variable) for variable in variables]
    values, others, unread_values = model_values.read(weights, model)
    return OptimizerState(
        variables={
            name: checked.variable(
                name,
                {slot: block[i] for slot, block in blocks.items()},
                values.get(name),
                weights.origin,
            )
            for i, name in enumerate(names)
        },
        iterations=checked.count(arrays[0], f"{path}/vars/0", weights.origin),
        kind=kind,
        hyperparameters=hyperparameters,
        origin=weights.origin,
        others=others,
        loss_scale={**loss_scale, **held},
        not_read=(*not_read, *unread_values),
    )


def _loss_scale(weights):
    """Returns what a file holds of loss scaling, and what it does not."""
    missing = ("the loss scale, of which the file has the first value at most",)
    if _INNER not in weights.groups:
        return {}, missing
    arrays, _ = weights.numbered(_OPTIMIZER)
    inner, _ = weights.numbered(_INNER)
    # tf_keras has the arrays of the inner optimizer here, and nothing else.
    if len(arrays) == len(inner):
        return {}, missing
    if len(arrays) != len(inner) + 4:
        raise ValueError(
            f"The optimizer in {weights.origin!r} scales the loss, and has "
            f"{len(arrays)} arrays around the {len(inner)} of an inner optimizer."
        )
    # Its own step count and learning rate, which it never uses, come first.
    return {
        "step_counter": checked.count(arrays[2], "step_counter", weights.origin),
        "dynamic_scale": checked.number(arrays[3], "dynamic_scale", weights.origin),
    }, ()


def _division(weights, arrays, possible, variables):
    """Returns how many arrays come before the slots, and the arrays of each slot."""
    shapes = None
    if variables is not None:
        shapes = [tuple(variable.shape) for variable in variables]
    model = collections.Counter(
        array.shape
        for path, group in weights.groups.items()
        if path.partition("/")[0] not in (_OPTIMIZER, "metrics")
        for array in group.values()
    )
    fitting = []
    # `keras.optimizers` stores a learning rate that is a number, others do not.
    for head, slots in itertools.product((1, 2), possible):
        if len(arrays) > head and (head == 1 or arrays[1].shape == ()):
            blocks = _blocks(arrays[head:], slots, shapes)
            if blocks is not None and _are_in(model, blocks["rms"]):
                fitting.append((head, blocks))
    if len(fitting) == 1:
        return fitting[0]
    found = [
        f"slots {', '.join(blocks)} of {len(blocks['rms'])} variables"
        for _, blocks in fitting
    ]
    hint = "`variables` or `centered` may tell. " if fitting else ""
    raise ValueError(
        f"The {len(arrays)} arrays of the optimizer in {weights.origin!r} could be "
        f"{' or '.join(found) or 'no optimizer over these variables'}. {hint}"
        f"Received: shapes of variables={shapes}, possible slots={possible}"
    )


def _are_in(model, arrays):
    """Whether the model has variables of these shapes."""
    return not collections.Counter(array.shape for array in arrays) - model


def _blocks(arrays, slots, shapes):
    """Returns the arrays of each slot, or None if they do not divide so."""
    count, rest = divmod(len(arrays), len(slots))
    if rest or (shapes is not None and count != len(shapes)):
        return None
    blocks = {slot: arrays[i * count : (i + 1) * count] for i, slot in enumerate(slots)}
    if shapes is None:
        shapes = [array.shape for array in blocks["rms"]]
    fits = all([a.shape for a in block] == shapes for block in blocks.values())
    # A mean of squares is never negative; what is was another slot.
    means = fits and not any(np.any(array.real < 0) for array in blocks["rms"])
    return blocks if fits and means else None
