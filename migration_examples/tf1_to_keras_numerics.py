"""What happens to training when TF1's RMSProp becomes Keras 3's, and how to avoid it.

Trains with `tf.compat.v1.train.RMSPropOptimizer` and with three optimizers that
could take its place, from the same start on the same batches of handwritten digits
and of text, and prints how far each comes apart from it, and why:

    python migration_examples/tf1_to_keras_numerics.py --plot divergence.png
"""

from keras_rmsprop.migration.starting import load_tensorflow

load_tensorflow()  # Without its start-up lines, which is all that this is for.

import keras
import tensorflow as tf
from absl import app, flags

import keras_rmsprop
from keras_rmsprop import migration
from keras_rmsprop.migration.comparison import workloads

_LEARNING_RATE = flags.DEFINE_float("learning_rate", 0.001, "step size", lower_bound=0)
_MOMENTUM = flags.DEFINE_float(
    "momentum", 0.9, "discount of earlier steps", lower_bound=0, upper_bound=1
)
_STEPS = flags.DEFINE_integer("steps", 100, "batches to train on", lower_bound=1)
_PLOT = flags.DEFINE_string(
    "plot", None, "file for a picture of how Keras 3 comes apart from TF1"
)


def replacements(learning_rate, momentum):
    """Returns what could take the place of the TF1 optimizer, by description."""
    arguments = {"learning_rate": learning_rate, "momentum": momentum}
    return {
        "Keras 3, same arguments": keras.optimizers.RMSprop(**arguments),
        "Keras 3, TF1's epsilon": keras.optimizers.RMSprop(epsilon=1e-10, **arguments),
        'ours, update_rule="tf1"': keras_rmsprop.RMSprop(
            epsilon=1e-10, update_rule="tf1", **arguments
        ),
    }


def compare_all(learning_rate, momentum, steps):
    """Returns a `Comparison` with TF1 for each replacement, by description."""
    tf1 = tf.compat.v1.train.RMSPropOptimizer(learning_rate, momentum=momentum)
    # Named, so that every replacement trains on text, whose gradients are sparse.
    model, batches = workloads.digits_and_text()
    return {
        description: migration.compare(
            tf1, candidate, model=model, data=batches, steps=steps
        )
        for description, candidate in replacements(learning_rate, momentum).items()
    }


def table(comparisons):
    """Returns the figures of all comparisons, a line each."""
    heads = f"{'instead of TF1':<26}{'difference':>11}{'ULP':>12}{'from step':>11}"
    lines = [f"{heads}{'final loss':>12}  because of"]
    for description, found in comparisons.items():
        causes = ", ".join(cause.name for cause in found.causes)
        lines.append(
            f"{description:<26}{found.max_abs_difference:>11.3g}{found.max_ulp:>12}"
            f"{found.first_divergence or '-':>11}{found.candidate_loss:>12.5f}"
            f"  {causes or '-'}"
        )
    loss = next(iter(comparisons.values())).reference_loss
    lines.append(f"{'TF1 itself':<26}{'':>34}{loss:>12.5f}")
    return "\n".join(lines)


def main(_):
    comparisons = compare_all(_LEARNING_RATE.value, _MOMENTUM.value, _STEPS.value)
    first = next(iter(comparisons.values()))
    print(first.report())
    print(table(comparisons))
    if _PLOT.value:
        first.plot(_PLOT.value)


if __name__ == "__main__":
    app.run(main)
