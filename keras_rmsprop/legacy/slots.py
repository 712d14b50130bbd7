"""The slots of an OptimizerV2: how they are made, found and restored."""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from keras_rmsprop import sharding
from keras_rmsprop.legacy.restoring import SlotsInCheckpoint, assignment
from keras_rmsprop.legacy.values import (
    assign,
    initial_value,
    is_value,
)
from keras_rmsprop.sharding import native_of


class HeldSlots(NamedTuple):
    """The slots of one variable that is not there.

    Attributes:
        path: Name of the variable.
        shape: Its shape.
        slots: Dictionary from slot names to slots.
    """

    path: str
    shape: tuple
    slots: dict


class Slots:
    """The part of `Optimizer` that makes, holds and restores slots.

    It puts them into `_weights`, too.
    """

    def __init__(self):
        self._slots = {}
        self._slot_names = []
        self._variable_paths = {}
        self._variable_shapes = {}
        self._constraints = {}
        self._deferred_slot_restorations = {}
        self._slots_restored_early = set()
        # A checkpoint of which slots may still be missing, and which are not.
        self._restored_from = None
        self._slots_restored = set()
        self._restoring_from = None
        # What `_create_all_weights` has made so far, to be undone if it fails.
        self._slots_attempted = []
        # What a pickle held, until the first step says of which variables it is.
        self._slots_unassigned = []

    def add_slot(
        self,
        var: Any,
        slot_name: str,
        initializer: Any = "zeros",
        shape: Sequence[int] | None = None,
    ) -> Any:
        """Returns the slot of a variable, new if it has none.

        Args:
            var: A `tf.Variable` or `keras.Variable`.
            slot_name: String.
            initializer: Name of an initializer, a callable of `shape` and `dtype`,
                or the value itself. Defaults to `"zeros"`.
            shape: Defaults to that of `var`.

        Raises:
            ValueError: If `var` belongs to another `tf.distribute.Strategy`.
        """
        key = self._var_key(var)
        slot = self._slots.get(key, {}).get(slot_name)
        if slot is not None and (key, slot_name) not in self._slots_restored_early:
            return slot
        self._slots_attempted.append((key, slot_name))
        if slot is None:
            slot = self._new_slot(var, slot_name, initializer, shape)
            self._restore_slot_variable(slot_name, var, slot)
        # Only now, where a checkpoint restored it earlier: `weights` keeps the order of
        # `_create_slots`, not that of a checkpoint.
        self._weights.append(slot)
        self._slots_restored_early.discard((key, slot_name))
        return slot

    def _new_slot(self, var, slot_name, initializer, shape):
        key = self._var_key(var)
        path = self._variable_paths.setdefault(key, self._path(var))
        var = native_of(var)
        if shape is None:
            shape = var.shape
            if not (shape.is_fully_defined() or is_value(initializer)):
                raise ValueError(
                    f"The slot {slot_name!r} needs a variable whose shape is known. "
                    f"Received: {path!r} of shape {shape}. Make the variable with its "
                    "full shape, or give `add_slot` a `shape`."
                )
        with self._distribution_strategy_scope():
            strategy = tf.distribute.get_strategy()
            if not strategy.extended.variable_created_in_scope(var):
                raise ValueError(
                    f"The slot {slot_name!r} must be made under the strategy of its "
                    f"variable {var.name!r}. Received: a variable of another "
                    f"strategy than {strategy}"
                )
            with strategy.extended.colocate_vars_with(var):
                slot = tf.Variable(
                    initial_value(initializer, shape, var.dtype.base_dtype),
                    dtype=var.dtype.base_dtype,
                    name=f"{path}/{slot_name}",
                    trainable=False,
                )
        self._variable_shapes[key] = var.shape
        self._slots.setdefault(key, {})[slot_name] = slot
        if slot_name not in self._slot_names:
            self._slot_names.append(slot_name)
        return slot

    def get_slot(self, var: Any, slot_name: str) -> Any:
        """Returns a slot of a variable; raises a KeyError if there is none.

        That of a `ShardedVariable` is one of the slots of its shards.
        """
        shards = sharding.shards_of(var)
        if shards[0] is not var:
            slots = [self.get_slot(shard, slot_name) for shard in shards]
            return sharding.joined(slots, name=slot_name)
        return self._slots[self._var_key(var)][slot_name]

    def get_slot_names(self) -> list[str]:
        """Returns the names of the slots, in order of creation."""
        return self._slot_names

    def _create_slots(self, var_list):
        """Creates the slots of variables. For subclasses."""
        return  # AutoGraph cannot convert a method of nothing but a docstring.

    def _create_slots_for_sharded_variables(self, var_list):
        """Called after `_create_slots`. For subclasses."""
        return  # AutoGraph cannot convert a method of nothing but a docstring.

    def _create_all_weights(self, var_list):
        """Creates the step counter, hyperparameters and slots that are missing.

        What fails leaves no slots behind. Several threads may take the first step.
        """
        with self._building():
            variables = self._natives(var_list)
            self.iterations  # noqa: B018 (made on first use)
            self._create_hypers()
            self._slots_attempted.clear()
            before = {
                "_weights": list(self._weights),
                "_slots_unassigned": self._slots_unassigned,
            }
            try:
                self._assign_slots(variables)
                self._create_slots(variables)
                self._create_slots_for_sharded_variables(variables)
                if self._restored_from is not None:
                    self._find_slots([self._var_key(var) for var in variables])
                self.built = True
            except BaseException:
                self._undo_slots()
                self.__dict__.update(before)
                raise

    def _undo_slots(self):
        """Takes back what `add_slot` did since `_create_all_weights` was called."""
        for key, slot_name in self._slots_attempted:
            restored = (key, slot_name) in self._slots_restored
            if restored and (key, slot_name) not in self._deferred_slot_restorations:
                # A checkpoint gives a value only once.
                self._slots_restored_early.add((key, slot_name))
            else:
                self._slots.get(key, {}).pop(slot_name, None)
        self._slots = {key: held for key, held in self._slots.items() if held}
        names = {name for held in self._slots.values() for name in held}
        self._slot_names[:] = [name for name in self._slot_names if name in names]

    def _assign_slots(self, variables):
        """Gives variables the slots that a pickle held."""
        if not self._slots_unassigned:
            return
        new = [var for var in variables if self._var_key(var) not in self._slots]
        found = assignment(
            [(each.path, each.shape) for each in self._slots_unassigned],
            [(self._path(var), var.shape) for var in new],
        )
        weights = {id(weight): weight for weight in self._weights}
        for var, index in zip(new, found):
            held = {} if index is None else self._slots_unassigned[index].slots
            for name, slot in held.items():
                self._slots_attempted.append((self._var_key(var), name))
                # Where it belongs, and under the strategy of its variable.
                eager = tf.compat.v1.executing_eagerly_outside_functions()
                value = slot if eager else slot.initial_value
                weights[id(slot)] = self._new_slot(var, name, value, slot.shape)
        self.__dict__.update(
            _weights=list(weights.values()),
            _slots_unassigned=[
                each
                for index, each in enumerate(self._slots_unassigned)
                if index not in found
            ],
        )

    # What `tf.train.Checkpoint` calls, to keep slots as edges between optimizer and
    # variable (`.OPTIMIZER_SLOT`). TensorFlow documents it nowhere, and has not
    # changed it since 1.12.

    def _create_or_restore_slot_variable(
        self,
        slot_variable_position,
        slot_name,
        variable,
        slot_variable_shape=None,
    ):
        """Returns the slot to restore, or None to restore it when it is created."""
        self._start_restoring(slot_variable_position.checkpoint.save_path_string)
        shards = sharding.shards_of(variable)
        if shards[0] is not variable:
            # Its slot is one only if those of its shards exist.
            for shard in shards:
                key = self._var_key(shard)
                self._slots_restored.add((key, slot_name))
                if slot_name not in self._slots.get(key, {}):
                    self._slots_restored_early.add((key, slot_name))
                    self._new_slot(shard, slot_name, "zeros", shard.shape)
            return self.get_slot(variable, slot_name)
        key = self._var_key(variable)
        self._slots_restored.add((key, slot_name))
        slot = self._slots.get(key, {}).get(slot_name)
        if slot is not None:
            return slot
        # A scope that catches what is created, such as that of `tf.make_template`,
        # would catch the slot as well. Of such scopes there is no public sign; this
        # one has existed since 1.12. A strategy's has to catch it.
        caught = tf.compat.v1.get_default_graph()._variable_creator_stack
        if (
            tf.executing_eagerly()
            and slot_variable_position.is_simple_variable()
            and (self._distribution_strategy or not caught)
        ):
            shape = slot_variable_shape or slot_variable_position.value_shape()
            self._slots_restored_early.add((key, slot_name))
            return self._new_slot(variable, slot_name, "zeros", shape)
        self._deferred_slot_restorations.setdefault((key, slot_name), []).append(
            slot_variable_position
        )
        return None

    def _restore_slot_variable(self, slot_name, variable, slot_variable):
        """Gives a new slot the value of a checkpoint that was restored before."""
        key = self._var_key(variable), slot_name
        positions = self._deferred_slot_restorations.get(key, [])
        for position in sorted(positions, key=lambda p: p.restore_uid, reverse=True):
            position.restore(slot_variable)
        self._deferred_slot_restorations.pop(key, None)

    def _checkpoint_adapter(self, path):
        """Notes that a checkpoint is being restored into this optimizer.

        TensorFlow asks each object here how it wants to be restored (2.16 did not,
        2.19, the oldest supported, does). It restores a slot only if it finds the
        variable the slot belongs to.
        """
        self._start_restoring(path)
        self._restored_from = None if SlotsInCheckpoint(path).is_of_start else path
        if self._restored_from is not None and tf.executing_eagerly():
            # A compiled function would never ask again. What is not clear here may
            # be so in a moment, when the variables were restored.
            with contextlib.suppress(ValueError):
                self._find_slots(list(self._slots))

    def _start_restoring(self, path):
        """Forgets what slots another checkpoint had.

        Some are restored before the optimizer itself: those of variables that the
        checkpoint finds first.
        """
        if path != self._restoring_from:
            self._restoring_from = path
            self._slots_restored = set()

    def _find_slots(self, keys):
        """Restores by name what slots of variables the checkpoint's graph has not.

        Raises:
            ValueError: If that leaves a choice; no slot has changed.
        """
        keys = [key for key in keys if self._slots.get(key)]
        restored = {key for key, _ in self._slots_restored}
        if not keys:
            return
        if restored.issuperset(keys):
            if (
                len(self._slots_restored)
                >= SlotsInCheckpoint(self._restored_from).count
            ):
                self._restored_from = None
            return
        checkpoint = SlotsInCheckpoint(self._restored_from)
        slots = [self._slots[key] for key in keys]
        found = checkpoint.find(
            [self._variable_paths[key] for key in keys],
            [tuple(next(iter(held.values())).shape) for held in slots],
            self._slot_names,
        )
        for key, held, stored in zip(keys, slots, found):
            if key not in restored:
                for name, slot in held.items():
                    assign(slot, checkpoint.value(stored[name]))
        self._restored_from = None

    def _natives(self, variables):
        """Returns the `tf.Variable` behind each variable, and notes Keras' paths."""
        for variable in variables:
            if isinstance(variable, keras.Variable):
                self._variable_paths[self._var_key(variable)] = variable.path
        return [native_of(variable) for variable in variables]

    def _path(self, variable):
        name = variable.name.partition(":")[0]
        return self._variable_paths.get(self._var_key(variable), name)
