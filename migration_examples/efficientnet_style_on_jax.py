"""Goes on from a TF1 checkpoint on JAX, PyTorch or TensorFlow, as EfficientNet trains.

A small network of MobileNet's blocks learns scikit-learn's handwritten digits in a TF1
graph, with TF1's RMSProp as EfficientNet and MobileNet set it: momentum 0.9, epsilon
1e-3, a rate that falls by steps, a moving average of the weights. It saves a
checkpoint. Keras then goes on from there, on whichever backend is set, with the same
numerics, schedule and average, and reads digits that it has not seen:

    KERAS_BACKEND=jax python migration_examples/efficientnet_style_on_jax.py

TensorFlow reads the checkpoint, and here also writes it; it takes no part in training.
"""

import os
import subprocess
import sys
import tempfile

import numpy as np
from absl import app, flags
from sklearn.datasets import load_digits

from keras_rmsprop.migration.starting import load_tensorflow

_STEPS = flags.DEFINE_integer("steps", 100, "Steps in TF1.", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 10, "Epochs in Keras.", lower_bound=1)
_WRITE = flags.DEFINE_string("write", None, "Only train in TF1 and save to this path.")
_BATCH = 48
_RATE, _FALL, _EVERY, _AVERAGE = 0.004, 0.97, 20, 0.98


def digits():
    """Returns images and labels to train with, and others to test with."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype("float32").reshape(-1, 8, 8, 1)
    labels = labels.astype("int32")
    return (images[:1500], labels[:1500]), (images[1500:], labels[1500:])


def train_in_tf1(prefix):
    """Trains a TF1 graph and saves a checkpoint, with names as TF1 gave them."""
    import tensorflow as tf

    tf1 = tf.compat.v1

    def weights(scope, shape, outputs):
        inputs = np.prod(shape) / outputs
        normal = tf1.random_normal_initializer(stddev=(2 / inputs) ** 0.5)
        with tf1.variable_scope(scope):
            kernel = tf1.get_variable("kernel", shape, initializer=normal)
            bias = tf1.get_variable(
                "bias", [outputs], initializer=tf1.zeros_initializer()
            )
            return kernel, bias

    (images, labels), _ = digits()
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.set_random_seed(0)
        x = tf1.placeholder(tf.float32, [None, 8, 8, 1])
        y = tf1.placeholder(tf.int32, [None])
        kernel, bias = weights("stem", [3, 3, 1, 16], 16)
        net = tf.nn.relu6(tf.nn.conv2d(x, kernel, 1, "SAME") + bias)
        for index, width in enumerate((16, 32)):
            kernel, bias = weights(f"depthwise_{index}", [3, 3, width, 1], width)
            net = tf.nn.depthwise_conv2d(net, kernel, [1, 1, 1, 1], "SAME") + bias
            net = tf.nn.relu6(net)
            kernel, bias = weights(f"pointwise_{index}", [1, 1, width, 32], 32)
            net = tf.nn.relu6(tf.nn.conv2d(net, kernel, 1, "SAME") + bias)
        kernel, bias = weights("logits", [32, 10], 10)
        logits = tf.matmul(tf.reduce_mean(net, [1, 2]), kernel) + bias
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
        step = tf1.train.get_or_create_global_step()
        rate = tf1.train.exponential_decay(_RATE, step, _EVERY, _FALL, staircase=True)
        train = tf1.train.RMSPropOptimizer(rate, 0.9, momentum=0.9, epsilon=1e-3)
        train = train.minimize(loss, step)
        average = tf1.train.ExponentialMovingAverage(_AVERAGE)
        with tf.control_dependencies([train]):
            train = average.apply(tf1.trainable_variables())
        saver = tf1.train.Saver()
        session.run(tf1.global_variables_initializer())
        random = np.random.default_rng(0)
        for _ in range(_STEPS.value):
            rows = random.integers(0, len(images), _BATCH)
            session.run(train, {x: images[rows], y: labels[rows]})
        saver.save(session, prefix)


def keras_model():
    """Returns the same network in Keras."""
    from keras import Input, Sequential, layers

    blocks = []
    for index in range(2):
        blocks += [
            layers.DepthwiseConv2D(
                3, padding="same", activation="relu6", name=f"depthwise_{index}"
            ),
            layers.Conv2D(32, 1, activation="relu6", name=f"pointwise_{index}"),
        ]
    return Sequential(
        [
            Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu6", name="stem"),
            *blocks,
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, name="logits"),
        ]
    )


def go_on(prefix):
    """Goes on from the checkpoint; returns the model."""
    import keras
    import tensorflow as tf

    import keras_rmsprop
    from keras_rmsprop import migration

    checkpoint = tf.train.load_checkpoint(prefix)
    model = keras_model()
    optimizer = keras_rmsprop.RMSprop(
        keras.optimizers.schedules.ExponentialDecay(
            _RATE, _EVERY, _FALL, staircase=True
        ),
        rho=0.9,
        momentum=0.9,
        epsilon=1e-3,
        update_rule="tf1",
        use_ema=True,
        ema_momentum=_AVERAGE,
    )
    state = migration.read_state(prefix)
    for name, variable in state.variables.items():
        # TF1's averages are no part of its optimizer, and Keras' are.
        average = checkpoint.get_tensor(f"{name}/ExponentialMovingAverage")
        variable.slots["average"] = average
    state.apply_to(optimizer, model, restore_values=True)
    print(f"{keras.backend.backend()} goes on at step {int(optimizer.iterations)}")
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    (images, labels), unseen = digits()
    _, before = model.evaluate(*unseen, verbose=0)
    model.fit(images, labels, _BATCH, _EPOCHS.value, verbose=0)
    # The averages have become the weights at the end of `fit`.
    _, after = model.evaluate(*unseen, verbose=0)
    print(f"accuracy on unseen digits: {before:.3f}, then {after:.3f}")


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {argv[1:]}")
    load_tensorflow()
    if _WRITE.value:
        train_in_tf1(_WRITE.value)
        return
    with tempfile.TemporaryDirectory() as folder:
        prefix = os.path.join(folder, "model")
        # In a process of its own, as a run of years ago.
        subprocess.run(
            [sys.executable, __file__, f"--write={prefix}", f"--steps={_STEPS.value}"],
            check=True,
            env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        )
        go_on(prefix)


if __name__ == "__main__":
    app.run(main)
