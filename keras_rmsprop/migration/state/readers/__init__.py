"""`read_state`: one reader per kind of source, chosen by what the source is."""

import os
import zipfile
from typing import Any

import h5py

from keras_rmsprop import mistakes
from keras_rmsprop.migration.state import file_format, live
from keras_rmsprop.migration.state.optimizer_state import OptimizerState
from keras_rmsprop.migration.state.readers import (
    checkpoint_paths,
    hdf5,
    keras_weights,
    live_optimizer,
    object_checkpoint,
    saver_checkpoint,
    weights_file,
)

# Reader of each kind of source, what that is called, and the options it takes.
_READERS = {
    "live": (live_optimizer.read, "a live optimizer", ("variables", "session")),
    "state": (lambda path: OptimizerState.load(path), "a saved OptimizerState", ()),
    "saver": (
        saver_checkpoint.read,
        "a TF1 Saver checkpoint",
        ("optimizer_name", "centered", "global_step"),
    ),
    "object": (
        object_checkpoint.read,
        "a tf.train.Checkpoint",
        ("optimizer_name", "global_step"),
    ),
    "hdf5": (hdf5.read, "an .h5 file with optimizer weights", ()),
    "weights": (
        keras_weights.read_weights,
        "a Keras 3 .weights.h5 file",
        ("variables", "centered"),
    ),
    "divided": (
        keras_weights.read_divided_weights,
        "a Keras 3 .weights.json file",
        ("variables", "centered"),
    ),
    "keras": (keras_weights.read_archive, "a .keras file", ("variables",)),
}


def read_state(
    source: Any,
    *,
    variables: Any = None,
    session: Any = None,
    optimizer_name: str | None = None,
    centered: bool | None = None,
    global_step: str | None = None,
) -> OptimizerState:
    """Reads the state of an RMSProp optimizer from a file or a live optimizer.

    Args:
        source: One of

            - a TF1 `Saver` checkpoint or a `tf.train.Checkpoint` (of TF1,
              `tf_keras` or Keras 3 optimizers): its prefix, one of its files, or
              its directory, for the latest in there;
            - an `.h5` file of `tf_keras` or Keras with optimizer weights;
            - a Keras 3 `.keras`, `.weights.h5` or `.weights.json` file;
            - a file that `OptimizerState.save` wrote;
            - an RMSProp optimizer, ours or shipped.
        variables: List of the variables. For a Keras 3 file: the model, which gives
            the names that the file lacks and so the values of its variables, or its
            `trainable_variables`, which give the names alone. For an optimizer: those
            to read, with their values, or the model; `tf_keras` and eager TF1
            optimizers only know the names otherwise. Defaults to None.
        session: Session that holds the variables of a TF1 graph. Defaults to None.
        optimizer_name: Which optimizer of a checkpoint to read, if there are more:
            the `name` of a TF1 optimizer (or the name scope of its operations,
            where several share a name), or the path of an attribute in a
            `tf.train.Checkpoint`, where it may also be an OptimizerV2 of another
            class. Defaults to None.
        centered: Whether the optimizer is centered, where a file does not tell.
            Defaults to None.
        global_step: Name of the variable of a checkpoint that counts TF1's steps.
            Defaults to None: `"global_step"`, if there is one.

    Returns:
        An `OptimizerState`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the source is damaged, holds no RMSProp state, or does not
            tell which of several is meant. The message lists what was found.
        TypeError: If an optimizer is no RMSProp optimizer.

    Example:

    >>> import keras, keras_rmsprop, tensorflow as tf
    >>> weight = keras.Variable([1.0, 2.0], name="w")
    >>> optimizer = keras_rmsprop.RMSprop(0.1, rho=0.5)
    >>> optimizer.apply([tf.constant([2.0, 0.0])], [weight])
    >>> state = read_state(optimizer)
    >>> state.iterations, state.variables["w"].slots["rms"].tolist()
    (1, [2.0, 0.0])
    """
    given = {
        "variables": variables,
        "session": session,
        "optimizer_name": optimizer_name,
        "centered": centered,
        "global_step": global_step,
    }
    given = {name: value for name, value in given.items() if value is not None}
    kind, source = _kind(source)
    reader, what, options = _READERS[kind]
    for name, value in given.items():
        if name not in options:
            raise ValueError(
                f"`{name}` says nothing about {what}, which takes "
                f"{', '.join(options) or 'no options'}. Received: {name}={value!r}"
            )
    return reader(source, **given)


def about(source):
    """Returns what a source is, in words, and the options that `read_state` takes."""
    _, what, options = _READERS[_kind(source)[0]]
    return what, options


def _instead(source):
    """Returns what to do with a source that is none, as the end of a message."""
    if mistakes.is_model(source):
        return (
            ". Give its optimizer: `read_state(model.optimizer, "
            "variables=model.trainable_variables)`"
        )
    if isinstance(source, OptimizerState):
        return ", which has been read. It goes on by `state.apply_to(optimizer, model)`"
    return ""


def _kind(source):
    """Returns the key into `_READERS` and the source as its reader takes it."""
    if not isinstance(source, (str, os.PathLike)):
        if live.is_optimizer(source):
            return "live", source
        raise TypeError(
            "`source` must be a path or an optimizer. Received: "
            f"source={source!r} of type {type(source).__name__}{_instead(source)}"
        )
    path = os.fspath(source)
    prefix = checkpoint_paths.find(path)
    if prefix is not None:
        return object_checkpoint.kind(prefix), prefix
    if os.path.isdir(path):
        raise ValueError(f"The directory {path!r} holds no checkpoint.")
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no file or checkpoint {path!r}.")
    if zipfile.is_zipfile(path):
        with (
            file_format.archive_errors(path, "a valid zip file"),
            zipfile.ZipFile(path) as archive,
        ):
            is_state = file_format.is_state_file(archive)
        return ("state" if is_state else "keras"), path
    if h5py.is_hdf5(path):
        return ("hdf5" if hdf5.has_optimizer_weights(path) else "weights"), path
    if weights_file.is_index(path):
        return "divided", path
    raise ValueError(
        f"{path!r} is none of the files that hold optimizer state: a checkpoint, "
        "a .keras, .h5, .weights.h5 or .weights.json file, or a saved "
        "OptimizerState. It may be truncated."
    )
