"""The variables of an OptimizerV2, and their values as lists and in files."""

import contextlib
import numbers
import threading
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_rmsprop.annotations import Store
from keras_rmsprop.legacy.values import assign, fetch, initial_value, is_value
from keras_rmsprop.sharding import native_of
from keras_rmsprop.validation import check_number


class _Variables(list):
    """A list, as Keras 3 has it, that can be called, as OptimizerV2 has it."""

    def __call__(self):
        return self


class Weights:
    """The part of `Optimizer` that makes variables and knows their values."""

    def __init__(self):
        self._weights = []
        self._iterations = None
        # Held by the thread that creates variables.
        self._lock = threading.RLock()
        self._distribution_strategy = (
            tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
        )

    @property
    def iterations(self) -> Any:
        """Scalar int64 variable: the number of steps taken.

        It can be set to a number, or, before it is first used, to a variable.
        """
        if self._iterations is None:
            with self._building(), self._distribution_strategy_scope():
                # Another thread may have had the lock before.
                if self._iterations is None:
                    self.iterations = self._new_counter()
        return self._iterations

    @iterations.setter
    def iterations(self, value: Any) -> None:
        if isinstance(value, (numbers.Integral, np.integer)):
            check_number("iterations", value)
            assign(self.iterations, value)
            return
        if self._iterations is not None:
            raise RuntimeError(
                "`iterations` cannot be set to another variable once it exists. "
                f"Received: iterations={value!r}. Set it to a number instead."
            )
        counter = native_of(value)
        # Both or, where an interrupt comes, none.
        self.__dict__.update(_iterations=counter, _weights=[*self._weights, counter])

    def _new_counter(self, count="zeros"):
        return self.add_weight(
            "iter",
            shape=[],
            dtype=tf.int64,
            initializer=count,
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
        )

    def add_weight(
        self,
        name: str,
        shape: Sequence[int],
        dtype: Any = None,
        initializer: Any = "zeros",
        trainable: bool | None = None,
        synchronization: tf.VariableSynchronization = tf.VariableSynchronization.AUTO,
        aggregation: tf.VariableAggregation = tf.VariableAggregation.NONE,
    ) -> Any:
        """Returns a new variable that checkpoints save under `name`.

        Args:
            name: String.
            shape: Sequence of integers.
            dtype: Defaults to that of the value, if `initializer` is one, and else to
                `tf.float32`.
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
        if not (dtype is None and is_value(initializer)):
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

    @property
    def weights(self) -> list[Any]:
        """List of the variables: the step counter, then slots in order of creation."""
        return self._weights

    @property
    def variables(self) -> _Variables:
        """The same as a list that can be called. It is a copy."""
        for weight in self._weights:
            # Keras 3 names what it saves by path, which a `tf.Variable` lacks.
            weight.path = weight.name.partition(":")[0]
        return _Variables(self._weights)

    def get_weights(self) -> list[np.ndarray]:
        """Returns the values of `weights` as a list of arrays.

        In a TF1 graph it takes them from the default session.
        """
        return fetch(self.weights)

    def set_weights(self, weights: Iterable[Any]) -> None:
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

    def save_own_variables(self, store: Any) -> None:
        """Puts all variables, hyperparameters too, into a mapping."""
        for index, value in enumerate(fetch(self._weights)):
            store[str(index)] = value
        for name, value in self._hyper.items():
            if isinstance(value, tf.Variable):
                store[name] = value.numpy()

    def load_own_variables(self, store: Store) -> None:
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

    @contextlib.contextmanager
    def _building(self):
        """Makes threads create variables one after the other."""
        # The threads of replicas take turns by themselves, at points within.
        several = tf.distribute.get_strategy().num_replicas_in_sync > 1
        with contextlib.nullcontext() if several else self._lock:
            yield

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
