"""Trains a Keras 3 classifier on scikit-learn's handwritten digits.

The main job of the library in one file: `model.compile(optimizer=RMSprop(...))`.
Prints the accuracy on held-out digits; `--plot loss.png` saves the loss curve.
"""

from keras_rmsprop.migration.starting import load_tensorflow

load_tensorflow()  # Without its start-up lines, which is all that this is for.

import keras
from absl import app, flags
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import keras_rmsprop

_EPOCHS = flags.DEFINE_integer("epochs", 20, "Passes over the data.", lower_bound=1)
_LEARNING_RATE = flags.DEFINE_float("learning_rate", 1e-3, "Step size.", lower_bound=0)
_UPDATE_RULE = flags.DEFINE_enum(
    "update_rule", "keras", ["keras", "legacy", "tf1"], "Whose numerics to use."
)
_PLOT = flags.DEFINE_string("plot", None, "File to save the loss curve to.")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {argv[1:]}")
    keras.utils.set_random_seed(0)
    images, labels = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        images / 16.0, labels, test_size=0.25, random_state=0, stratify=labels
    )

    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        optimizer=keras_rmsprop.RMSprop(
            learning_rate=_LEARNING_RATE.value, update_rule=_UPDATE_RULE.value
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = model.fit(
        x_train,
        y_train,
        batch_size=32,
        epochs=_EPOCHS.value,
        validation_data=(x_test, y_test),
    )
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    if _PLOT.value:
        plot_losses(history.history, _PLOT.value)
        print(f"Loss curve: {_PLOT.value}")
    print(f"Test accuracy: {accuracy:.4f}")


def plot_losses(history, path):
    """Saves the training and validation loss per epoch as a picture."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    epochs = range(1, len(history["loss"]) + 1)
    axes.plot(epochs, history["loss"], label="training")
    axes.plot(epochs, history["val_loss"], label="held-out digits")
    axes.set(
        xlabel="epoch",
        ylabel="cross-entropy (nats)",
        title="RMSprop on handwritten digits",
    )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    app.run(main)
