"""Trains in TF1, stops, and goes on in Keras 3 from the TF1 checkpoint, bit for bit.

A TF1 graph with `tf.compat.v1.train.RMSPropOptimizer` learns scikit-learn's
handwritten digits and saves a checkpoint on the way. One call then makes a
`keras_rmsprop.RMSprop` with the arguments, the slots and the step count of that
checkpoint, and gives a Keras model its weights; `fit` goes on from there, while the TF1
program goes on too. Both see the same batches, and at the end the greatest difference
between them is printed, in units in the last place:

    python migration_examples/resume_tf1_checkpoint_in_keras.py --steps=200 --stop_at=80
"""

import os
import tempfile

from keras_rmsprop.migration.starting import load_tensorflow

load_tensorflow()  # Without its start-up lines, which is all that this is for.

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags
from sklearn.datasets import load_digits

from keras_rmsprop import migration

tf1 = tf.compat.v1

_STEPS = flags.DEFINE_integer("steps", 200, "Steps to train in all.", lower_bound=1)
_STOP_AT = flags.DEFINE_integer(
    "stop_at", 80, "Step after which Keras takes over.", lower_bound=1
)
_MOMENTUM = flags.DEFINE_float(
    "momentum", 0.9, "Discount of earlier steps.", lower_bound=0, upper_bound=1
)
_CENTERED = flags.DEFINE_bool("centered", False, "Whether to divide by the variance.")
_BATCH = 32
_UNITS = 32


def batches(steps):
    """Returns the images and labels of all steps, in order."""
    images, labels = load_digits(return_X_y=True)
    chosen = np.random.default_rng(0).integers(0, len(images), steps * _BATCH)
    return (images[chosen] / 16).astype("float32"), labels[chosen].astype("int32")


def tf1_program(images, labels, folder):
    """Trains in a TF1 graph and saves a checkpoint after `--stop_at` steps.

    Returns:
        The prefix of the checkpoint, and the values of the variables at the end.
    """
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.set_random_seed(0)
        x = tf1.placeholder(tf.float32, [_BATCH, images.shape[1]])
        y = tf1.placeholder(tf.int32, [_BATCH])
        hidden = tf.nn.relu(dense(x, _UNITS, "hidden"))
        logits = dense(hidden, 10, "logits")
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits)
        step = tf1.train.RMSPropOptimizer(
            0.001, momentum=_MOMENTUM.value, centered=_CENTERED.value
        ).minimize(tf.reduce_mean(losses), tf1.train.get_or_create_global_step())
        session.run(tf1.global_variables_initializer())
        saver = tf1.train.Saver()
        for index in range(_STEPS.value):
            if index == _STOP_AT.value:
                prefix = saver.save(session, os.path.join(folder, "model"), index)
            rows = slice(index * _BATCH, (index + 1) * _BATCH)
            session.run(step, {x: images[rows], y: labels[rows]})
        variables = tf1.trainable_variables()
        names = [variable.op.name for variable in variables]
        return prefix, dict(zip(names, session.run(variables)))


def dense(x, units, name):
    with tf1.variable_scope(name):
        kernel = tf1.get_variable("kernel", [x.shape[1], units])
        bias = tf1.get_variable("bias", [units], initializer=tf1.zeros_initializer())
        return tf.nn.bias_add(tf.matmul(x, kernel), bias)


def keras_program(images, labels, prefix):
    """Goes on from the checkpoint with a Keras model; returns its values by name."""
    model = keras.Sequential(
        [
            keras.Input([images.shape[1]]),
            keras.layers.Dense(_UNITS, activation="relu", name="hidden"),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    resumed = migration.resume(prefix, model)
    print(resumed)
    optimizer = resumed.optimizer
    # On a GPU Keras would compile with XLA, which rounds in its own way.
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    rest = slice(int(optimizer.iterations) * _BATCH, None)
    model.fit(images[rest], labels[rest], _BATCH, shuffle=False, verbose=0)
    print(f"Keras went on to step {int(optimizer.iterations)}.")
    return {"/".join(v.path.split("/")[-2:]): v.numpy() for v in model.variables}


def ulps(left, right):
    """Returns how many float32 numbers lie between two arrays, at most."""
    ordered = []
    for array in (left, right):
        bits = array.view(np.int32).astype(np.int64)
        ordered.append(np.where(bits < 0, -(2**31) - bits, bits))
    return int(np.max(np.abs(ordered[0] - ordered[1])))


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {argv[1:]}")
    if _STOP_AT.value >= _STEPS.value:
        raise app.UsageError("--stop_at must be less than --steps.")
    images, labels = batches(_STEPS.value)
    with tempfile.TemporaryDirectory() as folder:
        prefix, stayed = tf1_program(images, labels, folder)
        moved = keras_program(images, labels, prefix)
    for name, value in stayed.items():
        print(f"{name}: {ulps(value, moved[name])} ULP apart")
    worst = max(ulps(value, moved[name]) for name, value in stayed.items())
    print(f"greatest difference: {worst} ULP")


if __name__ == "__main__":
    app.run(main)
