"""`Optimizer`: the OptimizerV2 API on Keras 3, for RMSProp and for users' own."""

import contextlib
import copy
import functools
import inspect
import math
import numbers
import re
import warnings

import keras
import numpy as np
import tensorflow as tf

from keras_rmsprop import core
from keras_rmsprop.gradients import checked_gradient, step_assertions
from keras_rmsprop.legacy.restoring import SlotsInCheckpoint
from keras_rmsprop.validation import check_number

Schedule = keras.optimizers.schedules.LearningRateSchedule
# The least and the greatest value of hyperparameters that have others than 0 and inf.
_RANGES = {
    "learning_rate": (-math.inf, math.inf),
    "lr": (-math.inf, math.inf),
    "rho": (0.0, 1.0),
    "momentum": (0.0, 1.0),
}


class _Variables(list):
    """A list, as Keras 3 has it, that can be called, as OptimizerV2 has it."""

    def __call__(self):
        return self


class Optimizer(keras.optimizers.Optimizer):
    """Base class that runs OptimizerV2 optimizers on Keras 3.

    An optimizer written for `tf.keras.optimizers.legacy.Optimizer` runs with
    `model.compile` and `fit`, in custom loops, under `tf.distribute` and in TF1
    graphs when this class takes that one's place. A subclass sets its
    hyperparameters in `__init__` and overrides

    - `_create_slots(var_list)`: calls `add_slot` for each variable and slot;
    - `_resource_apply_dense(grad, var, apply_state)`: one step;
    - `_resource_apply_sparse(grad, var, indices, apply_state)`: one step for some
      rows, whose `indices` are distinct;
    - `_prepare_local(var_device, var_dtype, apply_state)`: optionally, what all
      variables of one device and dtype share in a step;
    - `get_config()`.

    Hyperparameters given to `_set_hyper` are attributes: reading one gives its
    variable, setting one changes training, also inside a compiled `fit`.

    Noteworthy differences from `tf.keras.optimizers.legacy.Optimizer`:

    - `variables` is a list, as Keras 3 has it; calling it, as before, works too.
    - Variable constraints also apply after sparse gradients.
    - Replacing a schedule or a callable by a number (or the reverse) warns if a
      compiled function has used the old one, because that function keeps it.
    - Gradients are checked before anything changes.
    - `ShardedVariable` and parameter-server training are not supported.
    - Keras 3's own hooks (`update_step`, `add_variable`) are not used.

    Args:
        name: String, or None for the class name in snake case. Name scope of the
            variables and operations.
        gradient_aggregator: Callable from a list of `(gradient, variable)` to
            such a list, which sums gradients over replicas. Defaults to None:
            an all-reduce.
        gradient_transformers: List of such callables, applied after clipping.
            Defaults to None.
        **kwargs: Any of these. `clipnorm`: float >= 0, norm that no single
            gradient may exceed. `clipvalue`: float >= 0, bound of each gradient
            element. `global_clipnorm`: float >= 0, norm that all gradients
            together may not exceed; not with `clipnorm`. `decay`: float >= 0, or
            a callable without arguments; the learning rate is divided by
            `1 + decay * iterations`. `lr`: former name of `learning_rate`, for
            subclasses that take it.

    Raises:
        TypeError: If an argument is unknown.
        ValueError: If an argument is out of range.

    Example:

    >>> class SGD(Optimizer):
    ...     def __init__(self, learning_rate=0.01, name="SGD", **kwargs):
    ...         super().__init__(name, **kwargs)
    ...         self._set_hyper("learning_rate", learning_rate)
    ...
    ...     def _resource_apply_dense(self, grad, var, apply_state=None):
    ...         return var.assign_sub(self._decayed_lr(var.dtype) * grad)
    >>> variable = tf.Variable(2.0)
    >>> _ = SGD(0.25).minimize(lambda: variable**2, [variable])
    >>> float(variable)
    1.0

    Source: `tf.keras.optimizers.legacy.Optimizer` of TensorFlow 2.9.
    """

    # What Keras 3 asks of every optimizer. Its `__init__`, which would set these
    # and create variables at once, is not called: an OptimizerV2 creates its own
    # variables late, so that it can be made before, and used in, any graph.
    built = False
    use_ema = False
    loss_scale_factor = None
    gradient_accumulation_steps = None

    def __init__(
        self,
        name,
        gradient_aggregator=None,
        gradient_transformers=None,
        **kwargs,
    ):
        allowed = ("clipnorm", "clipvalue", "decay", "global_clipnorm", "lr")
        for key, value in kwargs.items():
            if key not in allowed:
                raise TypeError(
                    f"Unexpected keyword argument passed to optimizer. Allowed are "
                    f"{', '.join(allowed)}. Received: {key}={value!r}"
                )
            if value is not None:
                check_hyperparameter(key, value)
        if "lr" in kwargs:
            warnings.warn("`lr` is the former name of `learning_rate`.", stacklevel=3)
        self._use_locking = True
        self._name = name or _unique_name(type(self))
        self._hyper = {}
        self._hypers_created = False
        self._compiled_hypers = set()
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
        self._initial_decay = kwargs.get("decay", 0.0)
        self._distribution_strategy = (
            tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
        )
        self.gradient_aggregator = gradient_aggregator or _all_reduce_sum
        self.gradient_transformers = gradient_transformers or []
        self.clipnorm = kwargs.get("clipnorm")
        self.global_clipnorm = kwargs.get("global_clipnorm")
        self.clipvalue = kwargs.get("clipvalue")

    # Attributes.

    def __getattr__(self, name):
        key = "learning_rate" if name == "lr" else name
        if key in self.__dict__.get("_hyper", ()):
            return self._get_hyper(key)
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}"
        )

    def __setattr__(self, name, value):
        name = "learning_rate" if name == "lr" else name
        if name in self.__dict__.get("_hyper", ()):
            self._set_hyper(name, value)
            return
        if name in ("clipnorm", "clipvalue", "global_clipnorm"):
            self._check_clipping(name, value)
        # Past Keras' and TensorFlow's own `__setattr__`, which would wrap lists and
        # track variables: an OptimizerV2 tracks what it is told to, no more.
        object.__setattr__(self, name, value)

    def __dir__(self):
        alias = ["lr"] if "learning_rate" in self._hyper else []
        return sorted({*super().__dir__(), *self._hyper, *alias})

    def __deepcopy__(self, memo):
        """Copies configuration and state; the copy trains the same variables."""
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        for name, value in self.__dict__.items():
            shared = name in ("_distribution_strategy", "_trainable_variables")
            value = value if shared else copy.deepcopy(value, memo)
            object.__setattr__(twin, name, value)
        return twin

    @property
    def name(self):
        """The name scope of variables and operations."""
        return self._name

    # These two stand in the way of Keras' properties of the same name.

    @property
    def learning_rate(self):
        """The learning rate: its variable, or what was given in its place."""
        return self.__getattr__("learning_rate")

    @learning_rate.setter
    def learning_rate(self, value):
        self._set_hyper("learning_rate", value)

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
            _assign(self.iterations, value)
            return
        if self._iterations is not None:
            raise RuntimeError(
                "`iterations` cannot be set to another variable once it exists. "
                f"Received: iterations={value!r}. Set it to a number instead."
            )
        self._iterations = _native(value)
        self._weights.append(self._iterations)

    # Hyperparameters.

    def _set_hyper(self, name, value):
        """Sets a hyperparameter to a number, tensor, variable, schedule or callable."""
        value = _native(value)
        current = self._hyper.get(name)
        if isinstance(current, tf.Variable) and not (
            callable(value) or isinstance(value, tf.Variable)
        ):
            _assign(current, value)
            return
        if name in self._compiled_hypers:
            warnings.warn(
                f"A function compiled before this keeps the former `{name}`, because "
                "one of both is no number. Compile again, with `model.compile` or "
                "a new `tf.function`.",
                stacklevel=3,
            )
        if isinstance(value, tf.Variable):
            self._track_trackable(value, name, overwrite=True)
        self._hyper[name] = value
        if self._hypers_created:
            self._create_hyper(name)

    def _get_hyper(self, name, dtype=None):
        """Returns a hyperparameter, cast to a dtype unless it is a schedule."""
        self._create_hypers()
        value = self._hyper[name]
        if not tf.executing_eagerly():
            self._compiled_hypers.add(name)
        if isinstance(value, Schedule):
            return value
        if callable(value):
            value = value()
        return tf.cast(value, dtype) if dtype else value

    def _create_hypers(self):
        """Turns hyperparameters that are numbers into variables."""
        if self._hypers_created:
            return
        with self._distribution_strategy_scope():
            for name in sorted(self._hyper):
                self._create_hyper(name)
        self._hypers_created = True

    def _create_hyper(self, name):
        value = self._hyper[name]
        if not (tf.is_tensor(value) or callable(value)):
            with tf.init_scope():
                self._hyper[name] = self.add_weight(
                    name,
                    shape=[],
                    trainable=False,
                    initializer=value,
                    aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
                )

    def _serialize_hyperparameter(self, hyperparameter_name):
        """Returns a hyperparameter as `get_config` needs it."""
        return serialized(self._hyper[hyperparameter_name])

    def _lr_decay(self):
        """Returns by how much the learning rate falls: a number or scalar tensor."""
        decay = self._initial_decay
        return decay() if callable(decay) else decay

    def _decayed_lr(self, var_dtype):
        """Returns the learning rate of this step as a tensor of a dtype."""
        lr_t = self._get_hyper("learning_rate", var_dtype)
        step = tf.cast(self.iterations, var_dtype)
        if isinstance(lr_t, Schedule):
            lr_t = tf.cast(lr_t(step), var_dtype)
        decay = self._lr_decay()
        if isinstance(decay, numbers.Real) and decay == 0:
            return lr_t
        # float16 counts to 65504 steps and then to infinity.
        decayed = tf.math.multiply_no_nan(step, tf.cast(decay, var_dtype))
        return lr_t / (1.0 + decayed)

    # Variables.

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
            _initial_value(initializer, shape, dtype),
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
        var = _native(var)
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
                    _initial_value(initializer, shape, var.dtype.base_dtype),
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

    def _create_all_weights(self, var_list):
        """Creates the step counter, hyperparameters and slots that are missing."""
        self.iterations  # noqa: B018 (made on first use)
        self._create_hypers()
        self._create_slots(var_list)
        if self._restored_from is not None:
            self._find_slots([self._var_key(var) for var in var_list])
        self.built = True

    def build(self, variables):
        """Creates all variables of the optimizer, as Keras 3 does before training.

        Args:
            variables: List of `tf.Variable` or `keras.Variable`.

        Raises:
            ValueError: If one is neither floating nor complex.
        """
        natives = self._natives(variables)
        self._assert_valid_dtypes(natives)
        with tf.name_scope(self._name), tf.init_scope():
            self._create_all_weights(natives)
        self._trainable_variables = list(variables)

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
        return _fetch(self.weights)

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
            _assign(variable, value)

    def save_own_variables(self, store):
        """Puts all variables, hyperparameters too, into a mapping."""
        for index, value in enumerate(_fetch(self._weights)):
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
            _assign(variable, value)
        for name in set(store.keys()) & set(self._hyper):
            if isinstance(self._hyper[name], tf.Variable):
                _assign(self._hyper[name], np.asarray(store[name]))

    # Gradients.

    def minimize(self, loss, var_list, grad_loss=None, name=None, tape=None):
        """Takes one step that lowers a loss.

        Args:
            loss: Callable without arguments that returns the loss, or the loss as a
                tensor together with the `tape` that recorded it.
            var_list: List of variables, or a callable that returns it after the
                loss was called, for variables that the first call creates.
            grad_loss: Tensor to multiply the gradients with, shaped as the loss.
                Defaults to ones.
            name: Name of the operation. Defaults to the optimizer's.
            tape: A `tf.GradientTape`. Defaults to a new one.

        Returns:
            In a graph the operation that takes the step; executed eagerly, the
            step counter.

        Raises:
            ValueError: If `loss` is a tensor without a `tape`, if no variable has
                a gradient, or if a variable is neither floating nor complex.
        """
        grads_and_vars = self._compute_gradients(loss, var_list, grad_loss, tape)
        return self.apply_gradients(grads_and_vars, name=name)

    def _compute_gradients(self, loss, var_list, grad_loss=None, tape=None):
        """Returns the list of `(gradient, variable)`; gradients may be None."""
        if not callable(loss) and tape is None:
            raise ValueError(
                "`tape` is required when `loss` is a tensor. "
                f"Received: loss={loss}, tape=None"
            )
        tape = tape or tf.GradientTape()
        if callable(loss):
            with tape:
                if not callable(var_list):
                    tape.watch([_native(v) for v in tf.nest.flatten(var_list)])
                loss = loss()
                var_list = var_list() if callable(var_list) else var_list
        with tape:
            loss = self._transform_loss(self.scale_loss(loss))
        var_list = tf.nest.flatten(var_list)
        natives = self._natives(var_list)
        with tf.name_scope(self._name + "/gradients"):
            pairs = self._get_gradients(tape, loss, natives, grad_loss)
        self._assert_valid_dtypes([v for g, v in pairs if g is not None])
        # Variables go back as they came, because Keras' know their constraints.
        return [(g, var) for (g, _), var in zip(pairs, var_list)]

    def _transform_loss(self, loss):
        """Changes the loss before gradients are taken. For subclasses."""
        return loss

    def _get_gradients(self, tape, loss, var_list, grad_loss=None):
        """Takes the gradients in `minimize`. For subclasses."""
        return list(zip(tape.gradient(loss, var_list, grad_loss), var_list))

    def get_gradients(self, loss, params):
        """Returns the gradients of a loss, in a graph.

        Args:
            loss: Tensor.
            params: List of variables.

        Raises:
            RuntimeError: If executed eagerly.
            ValueError: If the loss has no gradient with respect to a variable.
        """
        if tf.executing_eagerly():
            raise RuntimeError(
                "`get_gradients` and `get_updates` need a graph, as under "
                "`with tf.Graph().as_default()`; executed eagerly, a loss does not "
                "know how it was computed. Use `tf.GradientTape` or `minimize`."
            )
        params = tf.nest.flatten(params)
        with tf.name_scope(self._name + "/gradients"):
            grads = tf.gradients(loss, [_native(param) for param in params])
        for grad, param in zip(grads, params):
            if grad is None:
                raise ValueError(
                    f"`loss` must have a gradient for each variable. Received: none "
                    f"for {param.name!r}. Does the loss depend on it, through "
                    "differentiable operations only?"
                )
        return grads

    def get_updates(self, loss, params):
        """Returns a list of the operations that take one step, in a graph.

        Args:
            loss: Tensor.
            params: List of variables.

        Raises:
            RuntimeError: If executed eagerly.
            ValueError: If the loss has no gradient with respect to a variable.
        """
        params = tf.nest.flatten(params)
        return [self.apply_gradients(zip(self.get_gradients(loss, params), params))]

    def apply(self, grads, trainable_variables=None):
        """Takes one step, as Keras 3 asks for it.

        Args:
            grads: List of gradients.
            trainable_variables: List of their variables. Defaults to those that
                the optimizer was built with.

        Raises:
            ValueError: If gradients and variables do not fit.
        """
        grads = list(grads)
        if trainable_variables is None:
            trainable_variables = self.__dict__.get("_trainable_variables")
        if trainable_variables is None:
            raise ValueError(
                "`trainable_variables` must be given until the optimizer is built. "
                "Received: trainable_variables=None"
            )
        variables = list(trainable_variables)
        if len(grads) != len(variables):
            raise ValueError(
                "`grads` must have one gradient for each variable. Received: "
                f"{len(grads)} gradients for {len(variables)} variables"
            )
        self.apply_gradients(zip(grads, variables))

    def apply_gradients(
        self, grads_and_vars, name=None, experimental_aggregate_gradients=True
    ):
        """Takes one step with given gradients.

        Args:
            grads_and_vars: Iterable of `(gradient, variable)`. A gradient is a
                tensor of the variable's shape, a `tf.IndexedSlices`, or None to
                leave the variable alone.
            name: Name of the operation. Defaults to the optimizer's.
            experimental_aggregate_gradients: Whether to sum the gradients of all
                replicas. Defaults to True.

        Returns:
            In a graph the operation that takes the step; executed eagerly, the
            step counter.

        Raises:
            RuntimeError: If called in a cross-replica context.
            ValueError: If no variable has a gradient, or if a gradient does not
                fit its variable; nothing has changed then.
        """
        pairs = self._with_gradients(grads_and_vars)
        variables = self._natives([variable for _, variable in pairs])
        for variable in variables:
            if not isinstance(variable, tf.Variable):
                raise NotImplementedError(
                    f"Only variables can be updated. Received: {variable!r}"
                )
        self._assert_valid_dtypes(variables)
        constraints = {
            self._var_key(native): variable.constraint
            for native, (_, variable) in zip(variables, pairs)
            if variable.constraint is not None
        }
        pairs = [
            (checked_gradient(gradient, variable), variable)
            for (gradient, _), variable in zip(pairs, variables)
        ]
        with contextlib.ExitStack() as scopes:
            scopes.enter_context(tf.name_scope(self._name))
            scopes.enter_context(tf.control_dependencies(step_assertions(pairs)))
            with tf.init_scope():
                self._create_all_weights(variables)
            if not pairs:
                return tf.no_op()
            if tf.distribute.in_cross_replica_context():
                raise RuntimeError(
                    "`apply_gradients` cannot be called in a cross-replica context. "
                    "Call it in a function that `tf.distribute.Strategy.run` runs."
                )
            apply_state = self._prepare(variables)
            if self.loss_scale_factor is not None:
                pairs = _map_values(lambda g: g / self.loss_scale_factor, pairs)
            if experimental_aggregate_gradients:
                pairs = self._transform_unaggregated_gradients(pairs)
                pairs = self._aggregate_gradients(pairs)
            pairs = self._transform_gradients(pairs)
            update = functools.partial(
                self._apply_one, apply_state=apply_state, constraints=constraints
            )
            if not tf.distribute.has_strategy():
                # What is below does the same at twenty times the cost.
                return self._apply_all(update, pairs, name)
            # Keras' own optimizers use this; unlike the public `merge_call` it
            # works within `tf.cond`, where loss scaling calls us. Since 2.5.
            return tf.__internal__.distribute.interim.maybe_merge_call(
                lambda strategy, pairs: self._apply_all(update, pairs, name, strategy),
                tf.distribute.get_strategy(),
                pairs,
            )

    def _with_gradients(self, grads_and_vars):
        """Returns the pairs that have a gradient to train with."""
        pairs = [(g, v) for g, v in grads_and_vars]
        kept = [(g, v) for g, v in pairs if g is not None]
        missing = [v.name for g, v in pairs if g is None]
        if pairs and not kept:
            raise ValueError(f"No gradients provided for any variable: {missing}.")
        if missing:
            warnings.warn(
                f"There are no gradients for variables {missing}. If you use "
                "`model.compile`, did you give a `loss`?",
                stacklevel=3,
            )
        return kept

    def _transform_unaggregated_gradients(self, grads_and_vars):
        """Changes gradients before they are summed over replicas. For subclasses."""
        return grads_and_vars

    def _aggregate_gradients(self, grads_and_vars):
        """Sums gradients over replicas. For subclasses."""
        return self.gradient_aggregator(grads_and_vars)

    def _transform_gradients(self, grads_and_vars):
        """Clips summed gradients and applies the `gradient_transformers`."""
        pairs = grads_and_vars
        if self.clipvalue is not None:
            bound = self.clipvalue
            pairs = [(tf.clip_by_value(g, -bound, bound), v) for g, v in pairs]
        if self.clipnorm is not None:
            pairs = [(tf.clip_by_norm(g, self.clipnorm), v) for g, v in pairs]
        if self.global_clipnorm is not None:
            grads, variables = zip(*pairs)
            grads, _ = tf.clip_by_global_norm(grads, self.global_clipnorm)
            pairs = list(zip(grads, variables))
        for transform in self.gradient_transformers:
            pairs = transform(pairs)
        return pairs

    def _check_clipping(self, name, value):
        if value is None:
            return
        check_number(name, value)
        if self.gradient_transformers:
            raise ValueError(
                f"`{name}` cannot be set together with `gradient_transformers`, "
                f"which can clip as well. Received: {name}={value!r}"
            )
        norms = ["clipnorm", "global_clipnorm"]
        if name in norms:
            norms.remove(name)
            if self.__dict__.get(norms[0]) is not None:
                raise ValueError(
                    f"`{name}` and `{norms[0]}` cannot both be set. Received: "
                    f"{name}={value!r}, {norms[0]}={getattr(self, norms[0])!r}"
                )

    # The step.

    def _prepare(self, var_list):
        """Returns `apply_state`: what all variables of a device and dtype share."""
        strategy = tf.distribute.get_strategy()
        keys = {
            (component.device, component.dtype.base_dtype)
            for var in var_list
            for component in strategy.experimental_local_results(var)
        }
        apply_state = {}
        for var_device, var_dtype in keys:
            apply_state[(var_device, var_dtype)] = {}
            with tf.device(var_device):
                self._prepare_local(var_device, var_dtype, apply_state)
        return apply_state

    def _prepare_local(self, var_device, var_dtype, apply_state):
        """Fills `apply_state[(var_device, var_dtype)]`, `lr_t` first."""
        if "learning_rate" in self._hyper:
            lr_t = tf.identity(self._decayed_lr(var_dtype))
            apply_state[(var_device, var_dtype)]["lr_t"] = lr_t

    def _fallback_apply_state(self, var_device, var_dtype):
        """Returns one entry of `apply_state`, for subclasses that do not get it."""
        apply_state = {(var_device, var_dtype): {}}
        self._prepare_local(var_device, var_dtype, apply_state)
        return apply_state[(var_device, var_dtype)]

    def _apply_all(self, update, grads_and_vars, name, strategy=None):
        """Updates all variables, then counts the step."""
        ops = []
        with tf.name_scope(name or self._name):
            for grad, var in grads_and_vars:
                if strategy is None:
                    with tf.device(var.device):
                        ops.append(update(var, grad))
                else:
                    ops += tf.nest.flatten(
                        strategy.extended.update(var, update, args=(grad,), group=False)
                    )
            if tf.executing_eagerly():
                return self.iterations.assign_add(1)
            with tf.control_dependencies([op for op in ops if op is not None]):
                return self.iterations.assign_add(1, read_value=False)

    def _apply_one(self, var, grad, apply_state, constraints):
        """Updates one variable, on its device."""
        if isinstance(grad, tf.IndexedSlices):
            kwargs = _wanted(self._resource_apply_sparse, apply_state)
            op = self._resource_apply_sparse_duplicate_indices(
                grad.values, var, grad.indices, **kwargs
            )
        else:
            kwargs = _wanted(self._resource_apply_dense, apply_state)
            op = self._resource_apply_dense(grad, var, **kwargs)
        constraint = constraints.get(self._var_key(var))
        if constraint is None:
            return op
        with tf.control_dependencies([] if op is None else [op]):
            return var.assign(constraint(var))

    def _resource_apply_dense(self, grad, handle, apply_state):
        """Takes one step with a dense gradient. For subclasses."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `_resource_apply_dense`."
        )

    def _resource_apply_sparse(self, grad, handle, indices, apply_state):
        """Takes one step for rows at distinct indices. For subclasses."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `_resource_apply_sparse` to train "
            "with sparse gradients, as embeddings have."
        )

    def _resource_apply_sparse_duplicate_indices(self, grad, handle, indices, **kwargs):
        """Sums the slices that share an index and goes on with distinct ones.

        Compiled by XLA, the indices keep their number; those that became free lie
        one past the last row, where XLA writes nothing.
        """
        grad, indices = core.sum_duplicates(
            grad, indices, handle.shape[0], compiled=core.is_compiled()
        )
        return self._resource_apply_sparse(grad, handle, indices, **kwargs)

    def _resource_scatter_add(self, x, i, v):
        """Adds `v` to the rows `i` of `x` and returns its new value."""
        op = tf.raw_ops.ResourceScatterAdd(resource=x.handle, indices=i, updates=v)
        with tf.control_dependencies([op]):
            return x.value()

    def _resource_scatter_update(self, x, i, v):
        """Sets the rows `i` of `x` to `v` and returns its new value."""
        op = tf.raw_ops.ResourceScatterUpdate(resource=x.handle, indices=i, updates=v)
        with tf.control_dependencies([op]):
            return x.value()

    def _call_if_callable(self, param):
        return param() if callable(param) else param

    def _valid_dtypes(self):
        """Returns the dtypes that variables may have. For subclasses."""
        return {
            tf.float16,
            tf.bfloat16,
            tf.float32,
            tf.float64,
            tf.complex64,
            tf.complex128,
        }

    def _assert_valid_dtypes(self, tensors):
        valid = self._valid_dtypes()
        for tensor in tensors:
            if tensor.dtype.base_dtype not in valid:
                raise ValueError(
                    f"Variables must have one of the dtypes "
                    f"{sorted(dtype.name for dtype in valid)}. Received: "
                    f"{tensor.name!r} of dtype {tensor.dtype.name}"
                )

    # Configuration.

    def get_config(self):
        """Returns the arguments that rebuild this optimizer, without its state."""
        config = {"name": self._name}
        for name in ("clipnorm", "clipvalue", "global_clipnorm"):
            if getattr(self, name) is not None:
                config[name] = getattr(self, name)
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """Returns a new optimizer.

        Args:
            config: Dictionary, as `get_config` returns it. The learning rate may
                stand under its former name `lr`, and may be the configuration of a
                schedule.
            custom_objects: Dictionary from names to classes of schedules that are
                not Keras'.
        """
        config = dict(config)
        if "lr" in config:
            config["learning_rate"] = config.pop("lr")
        if isinstance(config.get("learning_rate"), dict):
            schedule = dict(config["learning_rate"])
            # Keras 2 left schedules unnamed, which Keras 3 does not allow.
            schedule["config"] = {
                key: value
                for key, value in schedule["config"].items()
                if key != "name" or value is not None
            }
            config["learning_rate"] = keras.optimizers.schedules.deserialize(
                schedule, custom_objects=custom_objects
            )
        return cls(**config)

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
                    _assign(slot, checkpoint.value(stored[name]))
        self._restored_from = None

    # Helpers.

    def _natives(self, variables):
        """Returns the `tf.Variable` behind each variable, and notes Keras' paths."""
        for variable in variables:
            if isinstance(variable, keras.Variable):
                self._variable_paths[self._var_key(variable)] = variable.path
        return [_native(variable) for variable in variables]

    @contextlib.contextmanager
    def _distribution_strategy_scope(self):
        """Enters the strategy that the optimizer was made under."""
        if self._distribution_strategy and not tf.distribute.has_strategy():
            with self._distribution_strategy.scope():
                yield
        else:
            yield


def check_hyperparameter(name, value):
    """Checks a hyperparameter if it is a number, and neither tensor nor callable."""
    if not (callable(value) or tf.is_tensor(value) or isinstance(value, np.ndarray)):
        check_number(name, value, *_RANGES.get(name, ()))


def serialized(value):
    """Returns a hyperparameter as JSON can hold it; a callable as its value."""
    if isinstance(value, Schedule):
        return keras.optimizers.schedules.serialize(value)
    if callable(value):
        value = value()
    if tf.is_tensor(value):
        value = _fetch([value])[0]
    return value.item() if isinstance(value, (np.ndarray, np.generic)) else value


def _check_shapes(argument, variables, values):
    for variable, value in zip(variables, values):
        if variable.shape != value.shape:
            raise ValueError(
                f"`{argument}` must hold an array of shape {tuple(variable.shape)} "
                f"for {variable.name!r}. Received: an array of shape {value.shape}"
            )


def _map_values(function, grads_and_vars):
    return [(core.map_values(function, grad), var) for grad, var in grads_and_vars]


def _all_reduce_sum(grads_and_vars):
    """Sums gradients over replicas."""
    if not tf.distribute.has_strategy():
        return grads_and_vars
    grads, variables = zip(*grads_and_vars)
    context = tf.distribute.get_replica_context()
    summed = context.all_reduce(tf.distribute.ReduceOp.SUM, list(grads))
    return list(zip(summed, variables))


def _wanted(method, apply_state):
    """Returns `apply_state` as keyword argument if a method takes it."""
    if "apply_state" in inspect.signature(method).parameters:
        return {"apply_state": apply_state}
    return {}


def _initial_value(initializer, shape, dtype):
    """Returns an initial value as `tf.Variable` takes it."""
    if isinstance(initializer, str):
        initializer = keras.initializers.get(initializer)
    elif inspect.isclass(initializer):
        initializer = initializer()
    if callable(initializer):
        return functools.partial(initializer, shape=tuple(shape), dtype=dtype)
    return initializer


def _native(variable):
    """Returns the `tf.Variable` behind a Keras variable; anything else as it is."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def _unique_name(cls):
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__)
    name = name.lower()
    uid = keras.backend.get_uid(name)
    return name if uid == 1 else f"{name}_{uid - 1}"


def _session():
    session = tf.compat.v1.get_default_session()
    if session is None:
        raise RuntimeError(
            "In a TF1 graph, variables have values only in a session. Call this "
            "within `with tf.compat.v1.Session() as session:`."
        )
    return session


def _fetch(tensors):
    """Returns the values of tensors as arrays; in a TF1 graph, from its session."""
    if tf.compat.v1.executing_eagerly_outside_functions():
        return [tensor.numpy() for tensor in tensors]
    return _session().run(tensors)


def _assign(variable, value):
    """Sets a variable; in a TF1 graph, in its session."""
    if tf.compat.v1.executing_eagerly_outside_functions():
        variable.assign(value)
    else:
        variable.load(value, _session())
