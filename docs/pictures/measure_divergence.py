"""Measures what `draw.py` draws as the divergence, and writes `divergence.json`.

A small network learns scikit-learn's handwritten digits three times, from the same
start on the same batches: with TF1's optimizer, with Keras 3's of the same arguments,
and with the one that replaces TF1's. From the root of the repository:

    python docs/pictures/measure_divergence.py
"""

import json
import pathlib

import keras
import tensorflow as tf

import keras_rmsprop
from keras_rmsprop import migration
from keras_rmsprop.migration.comparison import workloads

STEPS = 100
PATH = pathlib.Path(__file__).with_name("divergence.json")


def compared(candidate):
    """Returns the comparison of TF1's optimizer with another."""
    model, batches = workloads.digits()
    return migration.compare(
        lambda: tf.compat.v1.train.RMSPropOptimizer(0.001, momentum=0.9),
        candidate,
        model=model,
        data=batches,
        steps=STEPS,
    )


def main():
    stock = compared(keras.optimizers.RMSprop(0.001, momentum=0.9))
    remedy = compared(
        keras_rmsprop.RMSprop(0.001, momentum=0.9, epsilon=1e-10, update_rule="tf1")
    )
    found = {
        "made_by": "python docs/pictures/measure_divergence.py",
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__},
        "arguments": "learning_rate=0.001, momentum=0.9",
        "tf1": [round(step.reference_loss, 4) for step in stock.steps],
        "keras": [round(step.candidate_loss, 4) for step in stock.steps],
        "remedy": [round(step.candidate_loss, 4) for step in remedy.steps],
        "remedy_max_ulp": remedy.max_ulp,
    }
    lines = (f" {json.dumps(name)}: {json.dumps(found[name])}" for name in found)
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
