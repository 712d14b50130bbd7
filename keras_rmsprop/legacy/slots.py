"""The variables of an OptimizerV2: step counter, slots, and what restores them."""

import contextlib
import numbers
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_rmsprop.legacy.restoring import SlotsInCheckpoint
from keras_rmsprop.legacy.values import assign, fetch, initial_value, native
from keras_rmsprop.validation import check_number


class _Variables(list):
    """A list, as Keras 3 has it, that can be called, as OptimizerV2 has it."""

    def __call__(self):
        return self


class Slots:
    """The part of `Optimizer` that makes, holds and restores variables."""

    def __init__(self):
        self._slots = {}
        self._slot_names = []
        self._weights = []
        self._iterations = None
        self._variable_paths = {}
        self._deferred_slot_restorations = {}
        self._slots_restored_early = set()
        # A checkpoint of which slots may still be missing, and which are not.
        self._restored_from = None
        self._slots_restored = set()
        self._distribution_strategy = (
            tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
        )

    @property
    def iterations(self):
        """Scalar int64 variable: the number of steps taken.

        It can be set to a number, or, before it is first used, to a variable.
        """
        if self._iterations is None:
            with self._distribution_strategy_scope():
                self.iterations = self.add_weight(
                    "iter",
                    shape=[],
                    dtype=tf.int64,
                    trainable=False,
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                )
        return self._iterations

    @iterations.setter
    def iterations(self, value):
        if isinstance(value, (numbers.Integral, np.integer)):
            check_number("iterations", value)
            assign(self.iterations, value)
            return
        if self._iterations is not None:
            raise RuntimeError(
                "`iterations` cannot be set to another variable once it exists. "
                f"Received: iterations={value!r}. Set it to a number instead."
            )
        self._iterations = native(value)
        self._weights.append(self._iterations)

    def add_weight(
        self,
        name,
        shape,
        dtype=None,
        initializer="zeros",
        trainable=None,
        synchronization=tf.VariableSynchronization.AUTO,
        aggregation=tf.VariableAggregation.NONE,
    ):
        """Returns a new variable that checkpoints save under `name`.

        Args:
            name: String.
            shape: Sequence of integers.
            dtype: Defaults to `tf.float32`.
            initializer: Name of an initializer, a callable of `shape` and `dtype`,
                or the value itself. Defaults to `"zeros"`.
            trainable: Defaults to whether `synchronization` allows it.
            synchronization: A `tf.VariableSynchronization`.
            aggregation: A `tf.VariableAggregation`.

        Raises:
            ValueError: If a variable that is synchronized on reading were trainable.
        """
        on_read = synchronization == tf.VariableSynchronization.ON_READ
        if on_read and trainable:
            raise ValueError(
                "`trainable` must not be True for a variable that is synchronized "
                f"on reading. Received: trainable={trainable}, "
                f"synchronization={synchronization}"
            )
        dtype = tf.as_dtype(dtype or tf.float32)
        variable = tf.Variable(
            initial_value(initializer, shape, dtype),
            dtype=dtype,
            name=name,
            trainable=not on_read if trainable is None else trainable,
            synchronization=synchronization,
            aggregation=aggregation,
        )
        # Also gives the variable the value of a checkpoint restored before it.
        self._track_trackable(variable, name, overwrite=True)
        return variable

    def add_slot(self, var, slot_name, initializer="zeros", shape=None):
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
        if slot is None:
            slot = self._new_slot(var, slot_name, initializer, shape)
            self._restore_deferred_slot(key, slot_name, slot)
            self._weights.append(slot)
        elif (key, slot_name) in self._slots_restored_early:
            # `weights` keeps the order of `_create_slots`, not of a checkpoint.
            self._slots_restored_early.remove((key, slot_name))
            self._weights.append(slot)
        return slot

    def _new_slot(self, var, slot_name, initializer, shape):
        key = self._var_key(var)
        path = self._variable_paths.setdefault(key, var.name.partition(":")[0])
        var = native(var)
        shape = var.shape if shape is None else shape
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
        self._slots.setdefault(key, {})[slot_name] = slot
        if slot_name not in self._slot_names:
            self._slot_names.append(slot_name)
        return slot

    def get_slot(self, var, slot_name):
        """Returns a slot of a variable; raises a KeyError if there is none."""
        return self._slots[self._var_key(var)][slot_name]

    def get_slot_names(self):
        """Returns the names of the slots, in order of creation."""
        return self._slot_names

    def _create_slots(self, var_list):
        """Creates the slots of variables. For subclasses."""

    @property
    def weights(self):
        """List of the variables: the step counter, then slots in order of creation."""
        return self._weights

    @property
    def variables(self):
        """The same as a list that can be called. It is a copy."""
        for weight in self._weights:
            # Keras 3 names what it saves by path, which a `tf.Variable` lacks.
            weight.path = weight.name.partition(":")[0]
        return _Variables(self._weights)

    def get_weights(self):
        """Returns the values of `weights` as a list of arrays.

        In a TF1 graph it takes them from the default session.
        """
        return fetch(self.weights)

    def set_weights(self, weights):
        """Sets the values of `weights`.

        Args:
            weights: List of arrays, as `get_weights` returns it.

        Raises:
            ValueError: If their number or a shape differs, before any is set.
        """
        weights = [np.asarray(weight) for weight in weights]
        if len(weights) != len(self.weights):
            hint = "" if self.built else " Call `build(variables)` first."
            raise ValueError(
                f"`weights` was given {len(weights)} arrays, but the optimizer was "
                f"expecting {len(self.weights)}, one for each of `weights`.{hint}"
            )
        _check_shapes("weights", self.weights, weights)
        for variable, value in zip(self.weights, weights):
            assign(variable, value)

    def save_own_variables(self, store):
        """Puts all variables, hyperparameters too, into a mapping."""
        for index, value in enumerate(fetch(self._weights)):
            store[str(index)] = value
        for name, value in self._hyper.items():
            if isinstance(value, tf.Variable):
                store[name] = value.numpy()

    def load_own_variables(self, store):
        """Sets all variables from what `save_own_variables` stored.

        Args:
            store: Mapping of `"0"`, `"1"`, ... to arrays, and of names to
                hyperparameters. One with another number of arrays is skipped with
                a warning, as Keras does.

        Raises:
            ValueError: If a shape differs, before any variable is set.
        """
        count = sum(key.isdigit() for key in store.keys())  # noqa: SIM118 (HDF5)
        if count != len(self._weights):
            warnings.warn(
                f"The state of optimizer {self._name!r} was not loaded: it has "
                f"{len(self._weights)} variables and the file has {count}.",
                stacklevel=2,
            )
            return
        values = [np.asarray(store[str(index)]) for index in range(count)]
        _check_shapes("store", self._weights, values)
        for variable, value in zip(self._weights, values):
            assign(variable, value)
        for name in set(store.keys()) & set(self._hyper):
            if isinstance(self._hyper[name], tf.Variable):
                assign(self._hyper[name], np.asarray(store[name]))

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
        key = self._var_key(variable)
        self._slots_restored.add((key, slot_name))
        slot = self._slots.get(key, {}).get(slot_name)
        if slot is not None:
            return slot
        if tf.executing_eagerly() and slot_variable_position.is_simple_variable():
            shape = slot_variable_shape or slot_variable_position.value_shape()
            self._slots_restored_early.add((key, slot_name))
            return self._new_slot(variable, slot_name, "zeros", shape)
        self._deferred_slot_restorations.setdefault((key, slot_name), []).append(
            slot_variable_position
        )
        return None

    def _restore_deferred_slot(self, key, slot_name, slot):
        positions = self._deferred_slot_restorations.pop((key, slot_name), [])
        for position in sorted(positions, key=lambda p: p.restore_uid, reverse=True):
            position.restore(slot)

    def _checkpoint_adapter(self, path):
        """Notes that a checkpoint is being restored into this optimizer.

        TensorFlow asks each object here how it wants to be restored (2.16 did not,
        2.19, the oldest supported, does). It restores a slot only if it finds the
        variable the slot belongs to.
        """
        self._slots_restored = set()
        self._restored_from = None if SlotsInCheckpoint(path).is_of_start else path
        if self._restored_from is not None and tf.executing_eagerly():
            # A compiled function would never ask again. What is not clear here may
            # be so in a moment, when the variables were restored.
            with contextlib.suppress(ValueError):
                self._find_slots(list(self._slots))

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
        return [native(variable) for variable in variables]

    @contextlib.contextmanager
    def _distribution_strategy_scope(self):
        """Enters the strategy that the optimizer was made under."""
        if self._distribution_strategy and not tf.distribute.has_strategy():
            with self._distribution_strategy.scope():
                yield
        else:
            yield


def _check_shapes(argument, variables, values):
    for variable, value in zip(variables, values):
        if variable.shape != value.shape:
            raise ValueError(
                f"`{argument}` must hold an array of shape {tuple(variable.shape)} "
                f"for {variable.name!r}. Received: an array of shape {value.shape}"
            )
