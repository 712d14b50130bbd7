"""The new program: Keras 3, which goes on from what `train.py` wrote.

python migration_examples/tf1_script/train_keras.py
"""

import pathlib

from keras_rmsprop.migration.starting import load_tensorflow

load_tensorflow()  # Without its start-up lines, which is all that this is for.

import keras
import numpy as np
from sklearn.datasets import load_digits

from keras_rmsprop import migration

RUN = pathlib.Path(__file__).parent / "run"
STEPS = 100


def main():
    """Trains 100 more steps and returns the loss of the last one."""
    model = keras.Sequential(
        [
            keras.Input((64,), name="images"),
            keras.layers.Dense(32, activation="relu", name="hidden"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    optimizer, not_carried = migration.resume(RUN, model)
    print("not carried over:", not_carried)
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    x, y = load_digits(return_X_y=True)
    first = int(optimizer.iterations)
    for i in range(first, first + STEPS):
        rows = np.random.RandomState(i).randint(0, len(x), 32)
        loss = model.train_on_batch(x[rows] / 16, y[rows])
        model.reset_metrics()
    print(f"loss of step {i + 1}: {loss:.6f}")
    return float(loss)


if __name__ == "__main__":
    main()
