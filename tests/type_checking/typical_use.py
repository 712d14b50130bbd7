"""What people write with this library. Type checkers read it, and a test runs it."""

import tempfile

import keras
import numpy as np
import tensorflow as tf

import keras_rmsprop
from compat_v1.keras import optimizer_v1
from compat_v1.train import RMSPropOptimizer
from keras_rmsprop import RMSprop, UpdateRule, legacy, migration

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
model.compile(RMSprop(learning_rate=1e-3, momentum=0.9), loss="mse")
model.fit(np.ones((8, 4)), np.ones((8, 2)))

tf1 = keras_rmsprop.RMSprop(0.01, epsilon=1e-10, update_rule="tf1")
rule: UpdateRule = UpdateRule.get("tf1")
start: float = rule.initial_mean_square
of_instance = RMSprop(np.float32(0.01), update_rule=UpdateRule.get("legacy"))
decays = keras.optimizers.schedules.ExponentialDecay(0.1, 100, 0.9)
scheduled = RMSprop(learning_rate=decays, clipnorm=1, name="scheduled")
called = RMSprop(lambda: 0.1, weight_decay=1e-4, ema_overwrite_frequency=100)
older_scheduled = legacy.RMSprop(decays, decay=1e-3, global_clipnorm=1.0)
of_2017 = optimizer_v1.RMSprop(lr=0.1, decay=1e-3)
dense = keras_rmsprop.RMSprop(0.01, update_rule="keras2", sparse_updates="dense")
older: legacy.Optimizer = legacy.RMSprop(0.01, momentum=0.9)
oldest = RMSPropOptimizer(0.01, decay=0.9)


class Halving(legacy.Optimizer):
    def _resource_apply_dense(self, grad, handle, apply_state):
        return handle.assign(handle / 2)


with tempfile.TemporaryDirectory() as folder:
    state: migration.OptimizerState = migration.read_state(model.optimizer)
    state.save(folder + "/state.npz")
    again = migration.OptimizerState.load(folder + "/state.npz")
    steps: int | None = again.iterations
    other = keras.models.clone_model(model)
    optimizer, not_carried = migration.resume(
        folder + "/state.npz", other, restore_values=False
    )
    reasons: dict = not_carried

found: migration.Arguments = migration.arguments(
    ("tf1", {"learning_rate": 0.1}), keras_rmsprop.RMSprop
)
made = keras_rmsprop.RMSprop(**found.arguments)
comparison: migration.Comparison = migration.compare(
    tf1,
    dense,
    model=model,
    data=(np.ones((32, 4), "float32"), np.ones((32, 2), "float32")),
    steps=2,
)
print(comparison.report())
same: bool = comparison.equivalent
variable = tf.Variable(tf.constant([1.0]))
oldest.apply_gradients([(tf.constant([1.0]), variable)])
scheduled.apply([tf.constant([1.0])], [variable])
older_scheduled.apply_gradients(zip([tf.constant([1.0])], [variable]))
count: int = len(migration.read_state(scheduled).variables["Variable"].shape)
held = migration.read_state(scheduled)
filled: RMSprop = held.apply_to(RMSprop(clipnorm=1), [variable])
