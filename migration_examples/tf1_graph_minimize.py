"""A TF1 training program that only changed its import.

It trains a small network on scikit-learn's handwritten digits in graph mode:
`minimize`, a global step, an exponentially decayed learning rate and a `Saver`.
Every `--save_every` steps it saves; started again, it goes on from there.

    python tf1_graph_minimize.py --checkpoint_dir=/tmp/digits --kill_at=130
    python tf1_graph_minimize.py --checkpoint_dir=/tmp/digits

The first command dies in the middle, as if the machine had failed. The second
prints the loss after the resume, which is the loss that the first printed before
it saved, and ends where a run that was never killed ends.
"""

import os
import signal

from keras_rmsprop.migration.starting import load_tensorflow

load_tensorflow()  # Without its start-up lines, which is all that this is for.

import numpy as np
import tensorflow as tf
from absl import app, flags
from sklearn.datasets import load_digits

from compat_v1.train import RMSPropOptimizer

tf1 = tf.compat.v1

FLAGS = flags.FLAGS
flags.DEFINE_integer("steps", 300, "Steps to train in all.", lower_bound=1)
flags.DEFINE_integer("save_every", 50, "Steps between checkpoints.", lower_bound=1)
flags.DEFINE_integer("kill_at", None, "Step at which this process kills itself.")
flags.DEFINE_integer("batch_size", 64, "Digits in a batch.", lower_bound=1)
flags.DEFINE_string("checkpoint_dir", None, "Folder for checkpoints.", required=True)


def build_graph(pixels, labels):
    """Returns the loss, the training step and the global step."""
    with tf1.variable_scope("hidden"):
        weight = tf1.get_variable(
            "weight", (64, 32), initializer=tf1.glorot_uniform_initializer(seed=1)
        )
        bias = tf1.get_variable("bias", (32,), initializer=tf1.zeros_initializer())
        hidden = tf.nn.relu(pixels @ weight + bias)
    with tf1.variable_scope("output"):
        weight = tf1.get_variable(
            "weight", (32, 10), initializer=tf1.glorot_uniform_initializer(seed=2)
        )
        bias = tf1.get_variable("bias", (10,), initializer=tf1.zeros_initializer())
        logits = hidden @ weight + bias
    loss = tf1.losses.sparse_softmax_cross_entropy(labels, logits)
    global_step = tf1.train.get_or_create_global_step()
    learning_rate = tf1.train.exponential_decay(
        0.01, global_step, decay_steps=100, decay_rate=0.5
    )
    optimizer = RMSPropOptimizer(learning_rate, momentum=0.9, centered=True)
    return loss, optimizer.minimize(loss, global_step=global_step), global_step


def main(_):
    tf1.disable_eager_execution()
    digits = load_digits()
    images = (digits.data / 16).astype(np.float32)
    pixels = tf1.placeholder(tf.float32, (None, 64))
    labels = tf1.placeholder(tf.int32, (None,))
    loss, step, global_step = build_graph(pixels, labels)
    saver = tf1.train.Saver()
    everything = {pixels: images, labels: digits.target}
    # One thread an operation, so that runs can be compared to the last bit.
    config = tf1.ConfigProto(intra_op_parallelism_threads=1)

    with tf1.Session(config=config) as session:
        checkpoint = tf.train.latest_checkpoint(FLAGS.checkpoint_dir)
        if checkpoint:
            saver.restore(session, checkpoint)
            print(f"resumed at step {session.run(global_step)}")
            print(f"loss after the resume: {session.run(loss, everything):.9g}")
        else:
            session.run(tf1.global_variables_initializer())
            print(f"loss at the start: {session.run(loss, everything):.9g}")

        for i in range(session.run(global_step), FLAGS.steps):
            if i == FLAGS.kill_at:
                print(f"killed at step {i}", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
            # The batch depends on the step alone, so a resumed run sees the same.
            rows = np.random.default_rng(i).integers(0, len(images), FLAGS.batch_size)
            feed = {pixels: images[rows], labels: digits.target[rows]}
            session.run(step, feed)
            if (i + 1) % FLAGS.save_every == 0 or i + 1 == FLAGS.steps:
                path = os.path.join(FLAGS.checkpoint_dir, "model")
                saver.save(session, path, global_step=i + 1)
                value = session.run(loss, everything)
                print(f"loss before the save at step {i + 1}: {value:.9g}", flush=True)
        print(f"loss at the end: {session.run(loss, everything):.9g}")


if __name__ == "__main__":
    app.run(main)
