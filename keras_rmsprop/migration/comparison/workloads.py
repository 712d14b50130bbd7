"""What is trained where the user gives no model and data, and checks where they do."""

import itertools

import keras
import numpy as np
import tensorflow as tf

from keras_rmsprop.migration.extras import INSTALL

_BATCH = 32
_WORDS = 400
_CONTEXT = 6


def digits(batch_size=_BATCH):
    """Returns a small network and batches of scikit-learn's handwritten digits.

    Args:
        batch_size: Number of digits in a batch. Defaults to 32.

    Returns:
        A compiled Keras model and a list of `(x, y)` batches.
    """
    images, labels = _digits()
    inputs = keras.Input((64,), name="digits")
    logits = _digit_layers(inputs)
    return _compiled(keras.Model(inputs, logits)), batches_of(
        images, labels, batch_size
    )


def digits_and_text(batch_size=_BATCH):
    """Returns two networks side by side: one on digits, one with an embedding.

    The second predicts a word of Python's own language reference from the words
    before it. Its table has rows that a batch does not name, and words that a batch
    names more than once, so that all ways to treat sparse gradients differ. Both
    networks train at once and share nothing.

    Args:
        batch_size: Number of digits, and of words, in a batch. Defaults to 32.

    Returns:
        A compiled Keras model of two inputs and outputs, and a list of batches.
    """
    images, labels = _digits()
    contexts, words = _text(len(images))
    image = keras.Input((64,), name="digits")
    context = keras.Input((_CONTEXT,), dtype="int32", name="text")
    embedded = keras.layers.Embedding(
        _WORDS, 8, embeddings_initializer=_initializer(3), name="text_embedding"
    )(context)
    pooled = keras.layers.GlobalAveragePooling1D(name="text_mean")(embedded)
    word = keras.layers.Dense(
        _WORDS, kernel_initializer=_initializer(4), name="text_logits"
    )(pooled)
    model = keras.Model(
        [image, context], [_digit_layers(image), word], name="digits_and_text"
    )
    return (
        _compiled(model, outputs=2),
        batches_of((images, contexts), (labels, words), batch_size),
    )


def batches_of(x, y, size=_BATCH):
    """Returns `(x, y)` batches of arrays, or of tuples of arrays, in their order."""
    count = len(keras.tree.flatten(x)[0])

    def batch(first):
        return keras.tree.map_structure(lambda a: a[first : first + size], (x, y))

    # A batch of another size would be another computation; fewer than one are one.
    return [batch(i) for i in range(0, count - count % size or count, size)]


def _compiled(model, outputs=1):
    losses = [
        keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        for _ in range(outputs)
    ]
    model.compile(loss=losses if outputs > 1 else losses[0], jit_compile=False)
    return model


def _initializer(seed):
    return keras.initializers.RandomUniform(-0.3, 0.3, seed=seed)


def _digit_layers(inputs):
    hidden = keras.layers.Dense(
        16, activation="relu", kernel_initializer=_initializer(1), name="digits_hidden"
    )(inputs)
    return keras.layers.Dense(
        10, kernel_initializer=_initializer(2), name="digits_logits"
    )(hidden)


def _digits():
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "A comparison without a model trains on scikit-learn's digits. Install "
            f"scikit-learn ({INSTALL}), or pass `model` and `data`."
        ) from error
    images, labels = load_digits(return_X_y=True)
    return (images / 16.0).astype("float32"), labels.astype("int32")


def _text(count):
    """Returns contexts and the words after them, as numbers, most frequent first."""
    from pydoc_data.topics import topics

    words = " ".join(topics[name] for name in sorted(topics)).lower().split()
    words = words[: 4 * count]
    distinct, places, counts = np.unique(
        np.array(words), return_inverse=True, return_counts=True
    )
    rank = np.empty(len(distinct), "int32")
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(distinct))
    numbers = np.minimum(rank[places.reshape(-1)], _WORDS - 1)
    windows = np.lib.stride_tricks.sliding_window_view(numbers, _CONTEXT + 1)[:count]
    return windows[:, :-1].copy(), windows[:, -1].copy()


def checked_model(model):
    """Returns the model, built if `model` is a callable that builds one.

    Raises:
        ValueError: If it is no Keras model, is not built or compiled with a loss,
            or has no trainable variables of one floating dtype.
    """
    if callable(model) and not isinstance(model, keras.Model):
        model = model()
    if not isinstance(model, keras.Model):
        raise ValueError(  # noqa: TRY004 (as documented, for all that is wrong)
            "`model` must be a Keras 3 model, or a callable without arguments that "
            f"builds one. Received: model={model!r}"
        )
    if not model.built:
        raise ValueError(
            "`model` must be built: give it an Input, or call it once. Received: "
            f"the model {model.name!r}, not built"
        )
    # `compile` without a loss leaves nothing that could be compared.
    if not model.compiled or not getattr(model, "loss", None):
        raise ValueError(
            "`model` must be compiled with a loss (its optimizer is not used): "
            f"model.compile(loss=...). Received: the model {model.name!r} without one"
        )
    dtypes = sorted({variable.dtype for variable in model.trainable_variables})
    if not dtypes:
        raise ValueError(
            "`model` must have trainable variables. Received: the model "
            f"{model.name!r} with none"
        )
    if len(dtypes) > 1 or not tf.as_dtype(dtypes[0]).is_floating:
        raise ValueError(
            "`model` must have trainable variables of one floating dtype. Received: "
            f"the model {model.name!r} with {', '.join(dtypes)}"
        )
    return model


def checked_batches(data, steps, batch_size=None):
    """Returns at most `steps` batches `(x, y)`, to be repeated in turn.

    Args:
        data: Tuple of two arrays `x, y`, cut into batches in their order, or an
            iterable of batches.
        steps: Integer.
        batch_size: Length of the batches that arrays are cut into. Defaults to 32.

    Raises:
        ValueError: If there is no batch, or one is no pair, or `batch_size` is given
            for what is in batches.
    """
    arrays = (np.ndarray, tf.Tensor)
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], arrays):
        lengths = {len(array) for array in keras.tree.flatten(data)}
        if len(lengths) != 1:
            raise ValueError(
                "`data` must hold arrays of one length. Received: arrays of lengths "
                f"{sorted(lengths)}"
            )
        batches = batches_of(*data, batch_size or _BATCH)
    elif batch_size is not None:
        raise ValueError(
            "`batch_size` can only be given where `data` is a tuple of two arrays, to "
            f"be cut. Received: batch_size={batch_size} and data of type "
            f"{type(data).__name__}"
        )
    else:
        try:
            batches = list(itertools.islice(data, steps))
        except TypeError as error:
            raise ValueError(
                "`data` must be a tuple of two arrays, or an iterable of (x, y) "
                f"batches. Received: data of type {type(data).__name__}"
            ) from error
    if not batches:
        raise ValueError("`data` must hold at least one batch. Received: none")
    for batch in batches:
        if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            raise ValueError(
                "`data` must give batches that are pairs (x, y). Received: a batch "
                f"of type {type(batch).__name__}"
                + (f" and length {len(batch)}" if hasattr(batch, "__len__") else "")
            )
    # Tensors once, not in every step of every run.
    return [keras.tree.map_structure(tf.convert_to_tensor, b) for b in batches[:steps]]
