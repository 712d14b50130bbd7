"""Writes a checkpoint of a sharded table with the RMSprop of Keras 2.

Runs in TensorFlow 2.4 to 2.10, not in the environment of this library:

    python tests/originals/write_sharded_checkpoint.py tests/originals/checkpoints

The zip file holds what `tf.train.Checkpoint(optimizer=..., table=..., bias=...)` wrote
after three steps, and `expected.npz` with

- `table`, `bias`, and their slots as `table/rms`: what they were then,
- `rows/I`, `slices/I`, `bias_gradient/I`: the gradients of the steps that followed,
- `after/NAME`: where the run that never stopped was after them.
"""

import os
import sys
import tempfile
import zipfile

import numpy as np
import tensorflow as tf

ROWS, SHARDS = 11, 3
SLOTS = ("rms", "momentum", "mg")


class Run:
    def __init__(self):
        self.rng = np.random.RandomState(3)
        parts = np.array_split(self.rng.randn(ROWS, 4), SHARDS)
        self.table = tf.__internal__.distribute.ShardedVariable(
            [tf.Variable(part, name=f"table/part_{i}") for i, part in enumerate(parts)],
            name="table",
        )
        self.bias = tf.Variable(self.rng.randn(4), name="bias")
        self.optimizer = tf.keras.optimizers.RMSprop(0.05, momentum=0.9, centered=True)

    def step(self):
        """Takes a step on gradients and returns them."""
        rows = self.rng.randint(0, ROWS, size=6)
        slices, bias_gradient = self.rng.randn(6, 4), self.rng.randn(4)
        with tf.GradientTape() as tape:
            found = tf.nn.embedding_lookup(self.table, rows)
            loss = tf.reduce_sum(found * slices) + tf.reduce_sum(
                self.bias * bias_gradient
            )
        variables = [*self.table.variables, self.bias]
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return {"rows": rows, "slices": slices, "bias_gradient": bias_gradient}

    def values(self):
        table = np.concatenate([shard.numpy() for shard in self.table.variables])
        held = {"table": table, "bias": self.bias.numpy()}
        for slot in SLOTS:
            parts = [self.optimizer.get_slot(s, slot) for s in self.table.variables]
            held[f"table/{slot}"] = np.concatenate([part.numpy() for part in parts])
            held[f"bias/{slot}"] = self.optimizer.get_slot(self.bias, slot).numpy()
        return held


def main(folder):
    run = Run()
    for _ in range(3):
        run.step()
    expected = run.values()
    checkpoint = tf.train.Checkpoint(
        optimizer=run.optimizer, table=run.table, bias=run.bias
    )
    name = f"sharded_table-{tf.__version__}.zip"
    with tempfile.TemporaryDirectory() as written:
        checkpoint.write(os.path.join(written, "checkpoint"))
        for index in range(4):
            for key, value in run.step().items():
                expected[f"{key}/{index}"] = value
        for key, value in run.values().items():
            expected[f"after/{key}"] = value
        np.savez(os.path.join(written, "expected.npz"), **expected)
        with zipfile.ZipFile(
            os.path.join(folder, name), "w", zipfile.ZIP_DEFLATED
        ) as file:
            for each in sorted(os.listdir(written)):
                file.write(os.path.join(written, each), each)


if __name__ == "__main__":
    main(sys.argv[1])
