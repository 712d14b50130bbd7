"""The optimizer classes behind one small interface, for tests that all must pass."""

import dataclasses
import functools
import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import keras_rmsprop
from compat_v1.train import RMSPropOptimizer
from keras_rmsprop.update_rule import UpdateRule


@dataclasses.dataclass(frozen=True)
class Face:
    """One optimizer class, or one rule of it.

    Attributes:
        name: For test ids.
        rule: The `UpdateRule` it is expected to follow.
        make: Takes `learning_rate`, `rho`, `momentum`, `epsilon`, `centered` and
            returns an optimizer with lazy sparse updates.
        apply: Takes an optimizer, gradients and variables and takes a step.
        slots: Takes an optimizer and a variable and returns its slot values by
            their TF1 names.
    """

    name: str
    rule: UpdateRule
    make: Callable
    apply: Callable
    slots: Callable

    def __str__(self):
        return self.name


def _modern_slots(optimizer, variable):
    index = optimizer._get_variable_index(variable)
    slots = {
        "rms": optimizer._velocities,
        "mg": optimizer._average_gradients,
        "momentum": optimizer._momentums,
    }
    return {name: held[index].numpy() for name, held in slots.items() if held}


def _modern(rule):
    return Face(
        name=f"modern_{rule}",
        rule=UpdateRule.get(rule),
        make=lambda **arguments: keras_rmsprop.RMSprop(update_rule=rule, **arguments),
        apply=lambda optimizer, grads, variables: optimizer.apply(grads, variables),
        slots=_modern_slots,
    )


def _named_slots(optimizer, variable):
    return {
        name: optimizer.get_slot(variable, name).numpy()
        for name in optimizer.get_slot_names()
    }


def _apply_gradients(optimizer, grads, variables):
    optimizer.apply_gradients(zip(grads, variables))  # Its operation is no result.


_TF1 = Face(
    name="tf1",
    rule=UpdateRule.get("tf1"),
    make=lambda rho, **arguments: RMSPropOptimizer(decay=rho, **arguments),
    apply=_apply_gradients,
    slots=_named_slots,
)

_LEGACY = Face(
    name="legacy",
    rule=UpdateRule.get("legacy"),
    make=functools.partial(keras_rmsprop.legacy.RMSprop, sparse_updates="lazy"),
    apply=_apply_gradients,
    slots=_named_slots,
)

FACES = [
    _modern("keras"),
    _modern("keras2"),
    _modern("legacy"),
    _modern("tf1"),
    _TF1,
    _LEGACY,
]

ARGUMENTS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "centered": {"centered": True},
    "centered_momentum": {"centered": True, "momentum": 0.9},
}


def combinations(**choices):
    """Returns named test parameters: all combinations of one choice of each kind.

    Args:
        **choices: For each argument of the test a dictionary from label to value.
    """
    labels = itertools.product(*choices.values())
    return [
        {
            "testcase_name": "_".join(combination),
            **{
                argument: choices[argument][label]
                for argument, label in zip(choices, combination)
            },
        }
        for combination in labels
    ]


def named(**choices):
    """Returns `combinations` of every face with the choices."""
    return combinations(face={str(face): face for face in FACES}, **choices)


def make(face, **arguments):
    """Returns an optimizer of this face; arguments default to the suite's own."""
    return face.make(
        **{"learning_rate": 0.01, "rho": 0.9, "epsilon": 1e-5, **arguments}
    )


@functools.cache
def two_cpus():
    """Returns the one strategy over two logical CPUs.

    TensorFlow numbers collective operations per strategy, and those of a second
    strategy in the same process collide with the first's.
    """
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def table(rows=12, columns=8, dtype="float32", seed=0):
    """Returns a variable of reproducible random values."""
    values = np.random.default_rng(seed).normal(size=(rows, columns))
    return tf.Variable(tf.cast(values, dtype))


def slices(values, indices, rows=12, index_dtype="int64"):
    """Returns an `IndexedSlices` over a table of that many rows."""
    values = tf.convert_to_tensor(values)
    return tf.IndexedSlices(
        values,
        tf.cast(tf.convert_to_tensor(indices), index_dtype),
        tf.constant([rows, *values.shape[1:]], index_dtype),
    )
