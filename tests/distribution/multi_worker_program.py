"""One of two workers under `MultiWorkerMirroredStrategy`, which train in many ways.

The first one writes what was trained to a file, beside what one machine makes of the
joint batches, and what came of Keras' `fit`.
"""

import os
import sys

import keras
import numpy as np
import tensorflow as tf

import keras_rmsprop
from keras_rmsprop import legacy

STEPS, BATCH = 6, 8
MODERN = keras_rmsprop.RMSprop
OPTIMIZERS = {
    "modern": MODERN,
    "modern_tf1": lambda rate: MODERN(
        rate, momentum=0.9, centered=True, update_rule="tf1"
    ),
    "modern_clipped": lambda rate: MODERN(rate, global_clipnorm=0.1, weight_decay=0.01),
    "modern_accumulating": lambda rate: MODERN(rate, gradient_accumulation_steps=2),
    "modern_averaging": lambda rate: MODERN(
        rate, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2
    ),
    "legacy": lambda rate: legacy.RMSprop(rate, sparse_updates="lazy"),
    "legacy_clipped": lambda rate: legacy.RMSprop(
        rate, momentum=0.9, global_clipnorm=0.1
    ),
}


class Nothing(keras.optimizers.Optimizer):
    def apply(self, grads, trainable_variables=None):
        pass


def batch(index):
    rng = np.random.default_rng(index)
    return rng.integers(0, 11, size=BATCH), rng.normal(size=(BATCH, 4)).astype("f")


def train(make, strategy=None):
    """Returns what is trained on batches of which each replica has its part."""
    strategy = strategy or tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        values = np.random.default_rng(0).normal(size=(11, 4))
        table = tf.Variable(tf.constant(values, tf.float32))
        bias = tf.Variable(tf.zeros(4))
        optimizer = make(0.05)
        optimizer.build([table, bias])

    def replica_step(rows, target):
        with tf.GradientTape() as tape:
            output = tf.gather(table, rows) + bias
            loss = tf.reduce_sum((output - target) ** 2) / BATCH
        grads = tape.gradient(loss, [table, bias])
        optimizer.apply_gradients(zip(grads, [table, bias]))

    @tf.function
    def step(rows, target):
        strategy.run(replica_step, (rows, target))

    # Every replica of a worker that has one is that worker's.
    task = strategy.cluster_resolver.task_id if replicas > 1 else 0
    for index in range(STEPS):
        step(*(tf.constant(part[task::replicas]) for part in batch(index)))
    return {"table": table.numpy(), "bias": bias.numpy()}


def fit(strategy):
    """Returns what `fit` raises with an optimizer that does nothing."""
    with strategy.scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(Nothing(0.1), "mse")
    data = tf.data.Dataset.from_tensors((tf.ones((4, 4)), tf.ones((4, 1))))
    try:
        model.fit(data, verbose=0)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "trained"


def main(path):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    results = {"fit": np.array(fit(strategy))}
    for name, make in OPTIMIZERS.items():
        for where, values in (
            ("workers", train(make, strategy)),
            ("alone", train(make)),
        ):
            for key, value in values.items():
                results[f"{name}:{where}:{key}"] = value
    if strategy.cluster_resolver.task_id == 0:
        np.savez(path, **results)
    os._exit(0)  # The runtime would wait for workers, and after `fit` for ever.


if __name__ == "__main__":
    main(sys.argv[1])
