"""Writes small training files with the Keras that is installed, and what is in them.

It needs nothing of this project, so that it runs where an old Keras runs. See
`keras_files/README.md` for the versions and the command.

Every run trains the same small model on gradients that `numpy.random.RandomState`
gives for each step; five steps are taken before the files are written and five after,
so that a run which goes on from a file can be compared with the one that stayed.
"""

import os
import shutil
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

IS_KERAS_3 = keras.__version__.startswith("3.")
if not IS_KERAS_3:
    keras = tf.keras
RATE = {"learning_rate": 0.05, "rho": 0.8, "epsilon": 1e-6}
FULL = {"momentum": 0.9, "centered": True}


def make_model():
    """Returns a model with equal shapes, and with variables that are not trained."""
    model = keras.Sequential(
        [
            keras.layers.InputLayer((3,)),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(3, name="last"),
        ]
    )
    random = np.random.RandomState(1)
    model.set_weights([random.uniform(0.5, 1, w.shape) for w in model.get_weights()])
    return model


def name_of(variable):
    return getattr(variable, "path", variable.name).partition(":")[0]


def is_scaled(optimizer):
    return hasattr(optimizer, "inner_optimizer")


def take_steps(optimizer, variables, first, last):
    for step in range(first, last):
        random = np.random.RandomState(100 + step)
        scale = 1.0
        if IS_KERAS_3 and is_scaled(optimizer):
            # Only Keras 3 divides the gradients itself.
            scale = float(np.array(optimizer.dynamic_scale)) if step else 1024.0
        grads = [random.normal(size=v.shape).astype("float32") for v in variables]
        optimizer.apply_gradients(
            [(tf.constant(g * scale), v) for g, v in zip(grads, variables)]
        )


class Momentous(keras.optimizers.legacy.Optimizer if not IS_KERAS_3 else object):
    """An OptimizerV2 of a user's own, with the slots of Adam."""

    def __init__(self, learning_rate=0.05, name="Momentous", **kwargs):
        super().__init__(name, **kwargs)
        self._set_hyper("learning_rate", learning_rate)
        self._set_hyper("beta", 0.75)

    def _create_slots(self, var_list):
        for slot in ("m", "v"):
            for var in var_list:
                self.add_slot(var, slot)

    def _resource_apply_dense(self, grad, var, apply_state=None):
        m, v = self.get_slot(var, "m"), self.get_slot(var, "v")
        beta = self._get_hyper("beta", var.dtype)
        m.assign(beta * m + (1.0 - beta) * grad)
        v.assign(beta * v + (1.0 - beta) * grad * grad)
        rate = self._get_hyper("learning_rate", var.dtype)
        return var.assign_sub(rate * m / (tf.sqrt(v) + 1e-3))

    def get_config(self):
        rate = self._serialize_hyperparameter("learning_rate")
        return {**super().get_config(), "learning_rate": rate}


def slots_of(optimizer, variables):
    """Returns the slots by name of slot and variable, as the optimizer tells them."""
    inner = optimizer.inner_optimizer if is_scaled(optimizer) else optimizer
    if hasattr(inner, "get_slot"):
        return {
            "slot/%s/%s" % (slot, name_of(v)): inner.get_slot(v, slot).numpy()
            for v in variables
            for slot in inner.get_slot_names()
        }
    lists = {
        "rms": inner._velocities,
        "mg": inner._average_gradients,
        "momentum": inner._momentums,
        "average": getattr(inner, "_model_variables_moving_average", []),
    }
    return {
        "slot/%s/%s" % (slot, name_of(v)): np.array(held[i])
        for slot, held in lists.items()
        if held
        for i, v in enumerate(variables)
    }


def scale_of(optimizer):
    if IS_KERAS_3:
        return optimizer.dynamic_scale, optimizer.step_counter
    return optimizer.loss_scale, optimizer.dynamic_counter


def write(folder, optimizer, formats, after=5):
    """Trains, writes the files, trains on, and writes what was and what became."""
    os.makedirs(folder)
    model = make_model()
    model.compile(optimizer, "mse")
    optimizer = model.optimizer
    variables = model.trainable_variables
    take_steps(optimizer, variables, 0, 5)
    inner = optimizer.inner_optimizer if is_scaled(optimizer) else optimizer
    expected = {
        "iterations": np.array(inner.iterations),
        "order": np.array([name_of(v) for v in variables]),
        **{"value/" + name_of(v): np.array(v) for v in variables},
        **{"other/" + name_of(v): np.array(v) for v in model.non_trainable_variables},
        **slots_of(optimizer, variables),
    }
    if is_scaled(optimizer):
        expected["scale"], expected["good_steps"] = map(np.array, scale_of(optimizer))
    for name in formats:
        path = os.path.join(folder, name)
        if name == "checkpoint":
            tf.train.Checkpoint(model=model, optimizer=optimizer).write(path + "/c")
        elif name == "of_model":
            tf.train.Checkpoint(model=model).write(path + "/c")
        elif name == "optimizer_only":
            tf.train.Checkpoint(optimizer=optimizer).write(path + "/c")
        elif name == "saved_model":
            model.save(path, save_format="tf", save_traces=False)
            # Nothing that is read; most of its size.
            os.remove(os.path.join(path, "saved_model.pb"))
        elif name.endswith(".weights.h5"):
            model.save_weights(path)
        else:
            model.save(path)
    take_steps(optimizer, variables, 5, 5 + after)
    expected.update({"after/" + name_of(v): np.array(v) for v in variables})
    np.savez_compressed(os.path.join(folder, "expected.npz"), **expected)


def write_keras_2_9(folder):
    legacy = keras.optimizers.legacy
    full = {**RATE, **FULL}
    objects = ["checkpoint", "optimizer_only"]
    write(
        folder + "/rmsprop",
        legacy.RMSprop(decay=0.01, **full),
        [*objects, "saved_model", "model.h5"],
    )
    write(folder + "/plain", legacy.RMSprop(**RATE), ["checkpoint"])
    write(folder + "/custom", Momentous(), ["checkpoint", "model.h5"])
    scaled = keras.mixed_precision.LossScaleOptimizer(
        legacy.RMSprop(**full), initial_scale=1024, dynamic_growth_steps=4
    )
    write(folder + "/scaled", scaled, ["checkpoint", "model.h5"])


def write_keras_2_15(folder):
    full = {**RATE, **FULL}
    new = keras.optimizers.RMSprop
    write(
        folder + "/rmsprop",
        new(**full),
        ["checkpoint", "saved_model", "model.keras", "model.h5", "model.weights.h5"],
    )
    average = new(use_ema=True, ema_momentum=0.9, momentum=0.9, **RATE)
    write(folder + "/average", average, ["checkpoint", "model.h5"])
    scaled = keras.mixed_precision.LossScaleOptimizer(
        new(**full), initial_scale=1024, dynamic_growth_steps=4
    )
    write(folder + "/scaled", scaled, ["checkpoint", "model.keras", "model.h5"])
    write(folder + "/legacy", keras.optimizers.legacy.RMSprop(**full), ["model.keras"])


def write_keras_3(folder):
    new = keras.optimizers.RMSprop
    full = {**RATE, **FULL}
    scaled = keras.optimizers.LossScaleOptimizer(
        new(**full), initial_scale=1024.0, dynamic_growth_steps=4
    )
    if keras.__version__.startswith("3.0."):
        # Its optimizers could not be in a `tf.train.Checkpoint` of their own.
        # In this order: saving to .h5 takes the optimizer out of the configuration.
        files = ["model.keras", "model.h5", "model.weights.h5"]
        write(folder + "/rmsprop", new(**full), files)
        # It could not write loss scaling to an .h5 file: two names were equal.
        write(folder + "/scaled", scaled, ["model.keras"])
        return
    write(folder + "/rmsprop", new(**full), ["of_model", "optimizer_only"])
    write(folder + "/scaled", scaled, ["of_model", "optimizer_only"])


if __name__ == "__main__":
    tf.config.threading.set_inter_op_parallelism_threads(1)
    version = "keras" + keras.__version__ if IS_KERAS_3 else "tf" + tf.__version__
    target = os.path.join(sys.argv[1], version)
    shutil.rmtree(target, ignore_errors=True)
    if IS_KERAS_3:
        write_keras_3(target)
    elif tf.__version__.startswith("2.9."):
        write_keras_2_9(target)
    else:
        write_keras_2_15(target)
