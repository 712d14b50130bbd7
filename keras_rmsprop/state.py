"""State of `keras_rmsprop.RMSprop` apart from its variables: checks and copies."""

import copy
import dataclasses
import pickle
import types
from typing import Any

import keras
import numpy as np


def checked_state(argument, values, variables):
    """Returns `values` as arrays that fit an optimizer's variables.

    Args:
        argument: Name of the argument, for the message.
        values: List of arrays.
        variables: List of the optimizer's `keras.Variable`s.

    Raises:
        ValueError: If their number, a shape or the kind of a dtype differs.
    """
    if len(values) != len(variables):
        raise ValueError(
            f"`{argument}` must hold {len(variables)} arrays, one for each "
            f"of the optimizer's variables. Received: {len(values)}"
        )
    arrays = []
    for variable, value in zip(variables, values):
        array = np.asarray(value)
        if array.shape != tuple(variable.shape):
            raise ValueError(
                f"`{argument}` must hold an array of shape "
                f"{tuple(variable.shape)} for {variable.path!r}. Received: an "
                f"array of shape {array.shape}"
            )
        if array.dtype.kind in "OSU":
            raise ValueError(
                f"`{argument}` must hold numbers for {variable.path!r}. "
                f"Received: an array of dtype {array.dtype}"
            )
        arrays.append(array)
    return arrays


@dataclasses.dataclass
class Copied:
    """What makes another optimizer of the same state.

    Slots belong to variables, which are not copied: the other optimizer gets its
    slots when it is built, with the same variables or copies of them.

    Attributes:
        kind: Class of the optimizer.
        config: Its configuration.
        learning_rate: Schedule or callable, or None for what the configuration says.
        common: Arrays of the variables that it has before it is built.
        slots: Arrays of the others in their order; None if it was not built.
        trained: Names and shapes of the variables that it was built with.
        undecayed: Variables excluded from weight decay, by place if it was built and
            by Keras' key otherwise; None if none were.
        undecayed_names: Compiled pattern of the names of such variables, or None.
    """

    kind: type
    config: dict
    learning_rate: Any
    common: list
    slots: list
    trained: list
    undecayed: list
    undecayed_names: Any

    @classmethod
    def of(cls, optimizer):
        """Returns the present state of an optimizer."""
        if optimizer._copied is not None:  # It waits itself.
            held = dataclasses.replace(optimizer._copied)
        else:
            held = cls(type(optimizer), {}, None, [], None, [], None, None)
            held._take_slots(optimizer)
        held.config = optimizer.get_config()
        if not isinstance(optimizer._learning_rate, keras.Variable):
            held.learning_rate = optimizer._learning_rate
        common = optimizer.variables
        if optimizer.built:
            common = [v for v in common if id(v) in optimizer._common]
        held.common = [variable.numpy() for variable in common]
        return held

    def _take_slots(self, optimizer):
        self.undecayed_names = getattr(
            optimizer, "_exclude_from_weight_decay_pattern", None
        )
        keys = getattr(optimizer, "_exclude_from_weight_decay", None)
        self.undecayed = None if keys is None else sorted(keys)
        if not optimizer.built:
            return
        trained = optimizer._trainable_variables
        self.trained = [(v.name, tuple(v.shape)) for v in trained]
        self.slots = [
            variable.numpy()
            for variable in optimizer.variables
            if id(variable) not in optimizer._common
        ]
        if keys is not None:
            self.undecayed = [
                place
                for place, variable in enumerate(trained)
                if optimizer._var_key(variable) in keys
            ]

    def optimizer(self):
        """Returns a new optimizer, which waits for its variables if this has slots."""
        config = dict(self.config)
        if self.learning_rate is not None:
            config["learning_rate"] = self.learning_rate
        other = self.kind.from_config(config)
        for variable, value in zip(other.variables, self.common):
            variable.assign(value)
        if self.undecayed is not None:
            keys = self.undecayed if self.slots is None else []
            other._exclude_from_weight_decay = set(keys)
            other._exclude_from_weight_decay_pattern = self.undecayed_names
        if self.slots is not None:
            other._copied = self
        return other

    def give(self, optimizer):
        """Gives the slots to an optimizer that has just been built."""
        trained = optimizer._trainable_variables
        shapes = [tuple(variable.shape) for variable in trained]
        if shapes != [shape for _, shape in self.trained]:
            raise ValueError(
                "`variables` must be those of the optimizer that this is a copy of, "
                "or copies of them, all at once and in the same order: "
                f"{self.trained}. Received: "
                f"{[(v.name, shape) for v, shape in zip(trained, shapes)]}"
            )
        slots = [v for v in optimizer.variables if id(v) not in optimizer._common]
        values = checked_state("copied state", self.slots, slots)
        for variable, value in zip(slots, values):
            variable.assign(value)
        for place in self.undecayed or ():
            optimizer._exclude_from_weight_decay.add(optimizer._var_key(trained[place]))

    def deep(self, memo):
        """Returns this with its own learning rate."""
        rate = copy.deepcopy(self.learning_rate, memo)
        return dataclasses.replace(self, learning_rate=rate)

    def __getstate__(self):
        if self.slots is None and self.undecayed:
            raise pickle.PicklingError(
                "`exclude_from_weight_decay(var_list=...)` names variables of this "
                "process, until the optimizer is built. Build it first, or exclude "
                "them by `var_names`."
            )
        state = dict(vars(self))
        if isinstance(self.learning_rate, types.LambdaType) and (
            self.learning_rate.__name__ == "<lambda>"
        ):
            # Keras' serialization carries its code, pickle only names.
            state["learning_rate"] = _Code(self.config["learning_rate"])
        return state

    def __setstate__(self, state):
        rate = state["learning_rate"]
        if isinstance(rate, _Code):
            rate = keras.saving.deserialize_keras_object(rate.config, safe_mode=False)
        vars(self).update(state, learning_rate=rate)


@dataclasses.dataclass
class _Code:
    """A function as Keras serializes it."""

    config: dict
