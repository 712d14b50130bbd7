"""The files in `tests/originals/keras_files`, and the runs that wrote them."""

import pathlib

import keras
import numpy as np
import tensorflow as tf

import keras_rmsprop

FILES = pathlib.Path(__file__).parents[2] / "originals" / "keras_files"
RATE = {"learning_rate": 0.05, "rho": 0.8, "epsilon": 1e-6}
FULL = {**RATE, "momentum": 0.9, "centered": True}


class Momentous(keras_rmsprop.legacy.Optimizer):
    """The optimizer of the folder `custom`, with another base class."""

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


def model():
    """Returns the model of all runs, with other values."""
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dense(3, name="last"),
        ]
    )


def bare(name):
    """Returns a variable's name without the model's, which depends on a counter."""
    return "/".join(name.split("/")[-2:])


def expected(run):
    """Returns what the folder of a run says of it: arrays by name."""
    with np.load(FILES / run / "expected.npz") as arrays:
        return {name: arrays[name] for name in arrays}


def path(file):
    """Returns the path of a file of a run; of a checkpoint, its prefix."""
    found = FILES / file
    return found / "c" if (found / "c.index").exists() else found


def part(held, prefix):
    """Returns the arrays whose names begin so, by bare names."""
    return {bare(n): a for n, a in held.items() if n.startswith(f"{prefix}/")}


def train_on(optimizer, variables, scale=lambda: 1.0):
    """Takes the steps that came after the files were written."""
    for step in range(5, 10):
        random = np.random.RandomState(100 + step)
        grads = [random.normal(size=v.shape).astype("float32") for v in variables]
        optimizer.apply_gradients(
            [(tf.constant(g * scale()), v) for g, v in zip(grads, variables)]
        )


def values(variables):
    return {bare(v.path): v.numpy() for v in variables}
