"""Copies of an OptimizerV2 and its pickles, which hold its state, too."""

import copy
import threading

import numpy as np
import tensorflow as tf

from keras_rmsprop.legacy.hyperparameters import Hyperparameters
from keras_rmsprop.legacy.slots import HeldSlots, Slots
from keras_rmsprop.legacy.values import fetch
from keras_rmsprop.legacy.weights import Weights

# Of the variables and of the graph that the optimizer was used with.
_NOT_PICKLED = ("built", "_trainable_variables", "updates")


class Copying:
    """The part of `Optimizer` that copies and pickles.

    A copy trains the same variables. A pickle knows them no more: of which variable a
    slot is, names, shapes and order tell when the first step is taken.
    """

    def __copy__(self):
        return copy.deepcopy(self)

    def __deepcopy__(self, memo):
        """Copies configuration and state; the copy trains the same variables."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        for name, value in self.__dict__.items():
            if name == "_lock":
                value = threading.RLock()
            elif name not in ("_distribution_strategy", "_trainable_variables"):
                value = copy.deepcopy(value, memo)
            object.__setattr__(twin, name, value)
        return twin

    def __reduce__(self):
        return _unpickled, (type(self), *self._pickled())

    def _pickled(self):
        """Returns attributes, hyperparameters, slots and what else is tracked."""
        self._refuse_unfinished_restore()
        attributes = {
            name: value
            for name, value in self.__dict__.items()
            if name not in _made_anew()
            and name not in _NOT_PICKLED
            and not name.startswith("_self_")  # TensorFlow's
        }
        hyper = {name: _without_tensor(value) for name, value in self._hyper.items()}
        known = {id(each) for each in (self._iterations, *self._hyper.values())}
        tracked = {
            name: each
            for name, each in self._trackable_children().items()
            if id(each) not in known
        }
        count = None if self._iterations is None else int(fetch([self._iterations])[0])
        return attributes, hyper, tracked, count, self._slot_names, self._held_slots()

    def _refuse_unfinished_restore(self):
        if self._restored_from or self._deferred_slot_restorations:
            raise ValueError(
                f"Optimizer {self._name!r} cannot be pickled while it waits for "
                "variables whose slots are in a checkpoint. Call `build(variables)` "
                "or take a step first."
            )

    def _held_slots(self):
        """Returns a list of `HeldSlots` with arrays in the order of `weights`."""
        place = {id(weight): i for i, weight in enumerate(self._weights)}
        held = [
            HeldSlots(self._variable_paths[key], self._variable_shapes[key], slots)
            for key, slots in self._slots.items()
        ]
        return [
            each._replace(
                shape=tuple(each.shape),
                slots={
                    name: (place[id(slot)], fetch([slot])[0])
                    for name, slot in each.slots.items()
                },
            )
            for each in [*held, *self._slots_unassigned]
        ]


def _unpickled(cls, attributes, hyper, tracked, count, slot_names, held):
    """Returns the optimizer that was pickled, for variables still to come."""
    optimizer = cls.__new__(cls)
    Hyperparameters.__init__(optimizer)
    Weights.__init__(optimizer)
    Slots.__init__(optimizer)
    for name, value in attributes.items():
        object.__setattr__(optimizer, name, value)
    optimizer._hyper.update(hyper)
    for name, each in tracked.items():
        optimizer._track_trackable(each, name)
    optimizer._slot_names += slot_names
    weights = {}
    with optimizer._distribution_strategy_scope():
        if count is not None:
            optimizer.iterations = optimizer._new_counter(np.int64(count))
        for each in held:
            slots = {}
            for name, (place, value) in each.slots.items():
                slots[name] = weights[place] = tf.Variable(
                    value, trainable=False, name=f"{each.path}/{name}"
                )
            optimizer._slots_unassigned.append(each._replace(slots=slots))
    optimizer._weights += [weights[place] for place in sorted(weights)]
    return optimizer


def _made_anew():
    """Returns the names of the attributes that hold state."""
    blank = Copying()
    Hyperparameters.__init__(blank)
    Weights.__init__(blank)
    Slots.__init__(blank)
    return vars(blank)


def _without_tensor(value):
    return fetch([value])[0] if tf.is_tensor(value) else value
