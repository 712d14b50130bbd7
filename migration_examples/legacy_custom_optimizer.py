"""Moves a third-party OptimizerV2 optimizer to Keras 3 by its base class alone.

`Yogi` below is written as optimizer packages for TensorFlow 2.0 to 2.10 were. Only
the line that names its base class has changed, from

    class Yogi(tf.keras.optimizers.legacy.Optimizer):

It trains a Keras 3 model on scikit-learn's handwritten digits:

    python migration_examples/legacy_custom_optimizer.py
"""

from keras_rmsprop.migration.starting import load_tensorflow

load_tensorflow()  # Without its start-up lines, which is all that this is for.

import keras
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from keras_rmsprop import legacy


class Yogi(legacy.Optimizer):
    """Adam whose second moment changes by steps of bounded size.

    Source: Zaheer et al., 2018, Adaptive Methods for Nonconvex Optimization.
    """

    _HAS_AGGREGATE_GRAD = True

    def __init__(
        self,
        learning_rate=0.01,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-3,
        initial_accumulator_value=1e-6,
        name="Yogi",
        **kwargs,
    ):
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", kwargs.get("lr", learning_rate))
        self._set_hyper("decay", self._initial_decay)
        self._set_hyper("beta_1", beta_1)
        self._set_hyper("beta_2", beta_2)
        self.epsilon = epsilon
        self.initial_accumulator_value = initial_accumulator_value

    def _create_slots(self, var_list):
        start = tf.constant_initializer(self.initial_accumulator_value)
        for var in var_list:
            self.add_slot(var, "m", initializer=start)
            self.add_slot(var, "v", initializer=start)

    def _prepare_local(self, var_device, var_dtype, apply_state):
        super()._prepare_local(var_device, var_dtype, apply_state)
        step = tf.cast(self.iterations + 1, var_dtype)
        beta_1 = tf.identity(self._get_hyper("beta_1", var_dtype))
        beta_2 = tf.identity(self._get_hyper("beta_2", var_dtype))
        correction = tf.sqrt(1 - beta_2**step) / (1 - beta_1**step)
        shared = apply_state[(var_device, var_dtype)]
        shared.update(
            lr=shared["lr_t"] * correction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=tf.convert_to_tensor(self.epsilon, var_dtype),
        )

    def _resource_apply_dense(self, grad, var, apply_state=None):
        key = (var.device, var.dtype.base_dtype)
        shared = (apply_state or {}).get(key) or self._fallback_apply_state(*key)
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        m_t = m.assign(shared["beta_1"] * m + (1 - shared["beta_1"]) * grad)
        square = tf.square(grad)
        v_t = v.assign_sub((1 - shared["beta_2"]) * tf.sign(v - square) * square)
        step = shared["lr"] * m_t / (tf.sqrt(v_t) + shared["epsilon"])
        return var.assign_sub(step, use_locking=self._use_locking)

    def get_config(self):
        config = super().get_config()
        for name in ("learning_rate", "beta_1", "beta_2"):
            config[name] = self._serialize_hyperparameter(name)
        config["decay"] = self._initial_decay
        config["epsilon"] = self.epsilon
        config["initial_accumulator_value"] = self.initial_accumulator_value
        return config


def train(epochs=10):
    """Trains on three quarters of the digits and returns accuracy on the rest."""
    keras.utils.set_random_seed(0)
    images, digits = load_digits(return_X_y=True)
    data = train_test_split(images / 16.0, digits, random_state=0)
    train_images, test_images, train_digits, test_digits = data
    model = keras.Sequential(
        [
            keras.layers.Input((64,)),
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(
        Yogi(learning_rate=0.01, clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    halve = keras.callbacks.LearningRateScheduler(
        lambda epoch, rate: rate / 2 if epoch == epochs // 2 else rate
    )
    model.fit(train_images, train_digits, epochs=epochs, verbose=0, callbacks=[halve])
    _, accuracy = model.evaluate(test_images, test_digits, verbose=0)
    return accuracy


if __name__ == "__main__":
    print(f"accuracy on held-out digits: {train():.3f}")
