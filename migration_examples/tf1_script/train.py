"""The old program, as it ran under TensorFlow 1.15. Not run today.

`run/model.ckpt-100` beside this file is what it wrote, and the guide `docs/tf1.md`
moves it. It goes on from there if it is started again.
"""

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

STEPS = 100

tf.set_random_seed(1)
images = tf.placeholder(tf.float32, [None, 64], name="images")
labels = tf.placeholder(tf.int64, [None], name="labels")
hidden = tf.layers.dense(images, 32, tf.nn.relu, name="hidden")
logits = tf.layers.dense(hidden, 10, name="logits")
loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)

step = tf.train.get_or_create_global_step()
rate = tf.train.exponential_decay(0.01, step, decay_steps=50, decay_rate=0.9)
optimizer = tf.train.RMSPropOptimizer(rate, momentum=0.9)
train = optimizer.minimize(loss, global_step=step)

saver = tf.train.Saver()
x, y = load_digits(return_X_y=True)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    last = tf.train.latest_checkpoint("run")
    if last:
        saver.restore(session, last)
    first = session.run(step)
    for i in range(first, first + STEPS):
        rows = np.random.RandomState(i).randint(0, len(x), 32)
        feed = {images: x[rows] / 16, labels: y[rows]}
        value, _ = session.run([loss, train], feed)
    print("loss of step %d: %.6f" % (i + 1, value))
    saver.save(session, "run/model.ckpt", global_step=step)
