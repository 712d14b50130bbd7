"""The old program: TensorFlow 1.15, a session, and the two lines that record it.

Not run today. `run.rmsprop` beside this file is what it wrote:

    python3.7 -m venv old
    old/bin/pip install tensorflow==1.15.5 "protobuf<3.20" scikit-learn
    keras-rmsprop recorder > record_rmsprop.py
    old/bin/python train_tf1.py
"""

import numpy as np
import record_rmsprop
import tensorflow as tf
from sklearn.datasets import load_digits

STEPS, BATCH = 40, 32


def main():
    """Trains a small network on digits."""
    images, labels = load_digits(return_X_y=True)
    images = images.astype("uint8")
    tf.set_random_seed(1)

    pixels = tf.placeholder(tf.uint8, [None, 64])
    label = tf.placeholder(tf.int64, [None])
    scaled = tf.cast(pixels, tf.float32) / 16.0
    hidden = tf.layers.dense(scaled, 12, tf.nn.relu, name="hidden")
    logits = tf.layers.dense(hidden, 10, name="logits")
    loss = tf.losses.sparse_softmax_cross_entropy(label, logits)
    step = tf.train.get_or_create_global_step()
    rate = tf.train.exponential_decay(0.01, step, decay_steps=10, decay_rate=0.9)

    recorder = record_rmsprop.Recorder("run.rmsprop", steps=STEPS)
    recorder.batch(pixels, label)
    optimizer = tf.train.RMSPropOptimizer(rate, momentum=0.9)
    train = recorder.wrap(optimizer).minimize(loss, global_step=step)

    order = np.random.RandomState(0).permutation(len(images))
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for i in range(STEPS):
            rows = order[i * BATCH : (i + 1) * BATCH]
            feed = {pixels: images[rows], label: labels[rows]}
            value, _ = session.run([loss, train], feed)
            print("step %d: loss %.4f" % (i + 1, value))


if __name__ == "__main__":
    main()
