"""`resume`: from a file to an optimizer and a model that go on, in one call."""

import os
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import keras

import keras_rmsprop
from keras_rmsprop import mistakes
from keras_rmsprop.annotations import LearningRate
from keras_rmsprop.migration import translation
from keras_rmsprop.migration.state import application, contradictions, readers


class Resumed(NamedTuple):
    """What `resume` made.

    Attributes:
        optimizer: The optimizer, filled.
        not_carried: Dictionary of what could not be carried over, and why.
    """

    optimizer: keras.optimizers.Optimizer
    not_carried: dict[str, str]

    def __repr__(self):
        config = translation.arguments(self.optimizer, type(self.optimizer))
        made = translation.Arguments(config.target, config.carried, self.not_carried)
        return f"Resumed after step {int(self.optimizer.iterations)} with\n{made!r}"


def resume(
    path: str | os.PathLike[str],
    model: Any,
    learning_rate: LearningRate | None = None,
    *,
    optimizer: type[keras.optimizers.Optimizer] = keras_rmsprop.RMSprop,
    optimizer_name: str | None = None,
    global_step: str | None = None,
    iterations: int | None = None,
    name_map: Mapping[str, str] | None = None,
    restore_values: bool = True,
    allow: Iterable[str] = (),
    **overrides: Any,
) -> Resumed:
    """Makes an optimizer that goes on where a file stops, and fills it and a model.

    The same as `read_state`, `arguments` and `apply_to`, and it stops where they would:
    with an error that says what to give, and before anything is written.

    Args:
        path: What `read_state` takes, such as the directory of a run.
        model: The Keras model to train, built. Nothing is compiled.
        learning_rate: Number or schedule. Defaults to None: the source's.
        optimizer: The class to make: `keras_rmsprop.RMSprop`,
            `keras_rmsprop.legacy.RMSprop` or `keras.optimizers.RMSprop`. Defaults to
            the first.
        optimizer_name: As in `read_state`.
        global_step: As in `read_state`.
        iterations: Number of steps taken, where the file does not tell. Defaults to
            None.
        name_map: As in `OptimizerState.apply_to`.
        restore_values: Whether the model takes the values in the file. Defaults to
            True.
        allow: As in `OptimizerState.apply_to`.
        **overrides: Arguments of the optimizer that the file does not hold, or that
            shall be others than the source's, which allows each of them.

    Returns:
        `Resumed`: the optimizer, and a dictionary of what was not carried over.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If `path` is no path, or `optimizer` no class.
        ValueError: If the file cannot be read, leaves a choice, or does not hold what
            is needed. The model is as it was.

    Example:

    >>> import numpy as np, os, tempfile
    >>> from keras_rmsprop import migration
    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> old = keras_rmsprop.RMSprop(0.1)
    >>> old.build(model.trainable_variables)
    >>> path = os.path.join(tempfile.mkdtemp(), "state.npz")
    >>> migration.read_state(old).save(path)
    >>> optimizer, not_carried = resume(path, model, learning_rate=0.05)
    >>> float(optimizer.learning_rate), not_carried
    (0.05000000074505806, {})
    """
    if learning_rate is not None:
        overrides["learning_rate"] = learning_rate
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(
            "`path` must be a path, and comes before the model. Received: "
            f"path={path!r} of type {type(path).__name__}. The state of a live "
            "optimizer goes on by `read_state(old).apply_to(new, model)`."
        )
    if not isinstance(optimizer, type):
        raise TypeError(
            "`optimizer` must be a class, of which an optimizer is made. "
            f"Received: optimizer={optimizer!r}"
        )
    path = os.fspath(path)
    hints = {
        # A file of Keras 3 has names and values for a model only.
        "variables": model if mistakes.is_model(model) else None,
        "optimizer_name": optimizer_name,
        "centered": overrides.get("centered"),
        "global_step": global_step,
    }
    # These help where they say something, and are the optimizer's or unneeded else.
    _, options = readers.about(path)
    for name in {"variables", "centered"}.difference(options):
        del hints[name]
    state = readers.read_state(path, **hints)
    if iterations is not None:
        state.iterations = iterations
    found = translation.arguments(state, optimizer, **overrides)
    told = contradictions.by_common_names(state.kind, overrides)
    made = optimizer(**found.arguments)
    unused = application.apply(
        state,
        made,
        model,
        name_map,
        restore_values=restore_values,
        allow=[*allow, *(name for name in told if name in contradictions.ALLOWED)],
    )
    not_carried = dict(found.not_carried)
    if state.loss_scale:
        not_carried["loss scale"] = (
            "the optimizer does not scale the loss; apply the state to a "
            "keras.optimizers.LossScaleOptimizer around it instead"
        )
    for name in unused if restore_values else ():
        not_carried[name] = "no variable of the model goes with it"
    not_carried.update(dict.fromkeys(state.not_read, "it was not read"))
    return Resumed(made, not_carried)
