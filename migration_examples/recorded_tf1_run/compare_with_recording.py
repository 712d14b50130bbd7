"""Holds a port to Keras 3 against a TensorFlow 1.15 run that is not run again.

The recording holds the old run's gradients, batches, losses and variables. Two
questions are asked of it: is the network the same, and is the optimizer?

    python migration_examples/recorded_tf1_run/compare_with_recording.py

prints the answers for a port with two mistakes, and for the port without them. With
`--plot` it draws how far the first optimizer goes astray.
"""

import argparse
import os

from keras_rmsprop.migration.starting import load_tensorflow

load_tensorflow()  # Without its start-up lines, which is all that this is for.

import keras

import keras_rmsprop
from keras_rmsprop import migration

RECORDING = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.rmsprop")


def network(penalty=None):
    """Returns the port of the network in `train_tf1.py`."""
    model = keras.Sequential(
        [
            keras.Input((64,), dtype="uint8"),
            keras.layers.Rescaling(1 / 16),
            keras.layers.Dense(12, "relu", kernel_regularizer=penalty, name="hidden"),
            keras.layers.Dense(10, name="logits"),
        ],
        name="digits",
    )
    model.compile(loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def optimizer(**arguments):
    """Returns the optimizer of `train_tf1.py` in Keras 3."""
    rate = keras.optimizers.schedules.ExponentialDecay(0.01, 10, 0.9)
    return keras_rmsprop.RMSprop(rate, momentum=0.9, **arguments)


def main(plot=None):
    """Compares two ports with the recorded run.

    Args:
        plot: Path of a picture to draw, or None.

    Returns:
        Both comparisons.
    """
    recording = migration.read_recording(RECORDING)
    print(f"{recording!r}, recorded with TensorFlow {recording.versions['tensorflow']}")

    print("\n--- A port with another penalty and Keras' own RMSProp:\n")
    wrong = migration.compare(
        recording, optimizer(), model=network(keras.regularizers.L2(0.001))
    )
    print(wrong.report())
    if plot:
        wrong.plot(plot)

    print("--- The network as it was, and the remedy that was advised:\n")
    right = migration.compare(
        recording, optimizer(update_rule="tf1", epsilon=1e-10), model=network()
    )
    print(right.report())
    return wrong, right


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plot", metavar="OUT.PNG", help="draw the divergence")
    main(parser.parse_args().plot)
