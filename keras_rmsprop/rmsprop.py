"""`RMSprop`: the Keras 3 optimizer, with the numerics of any generation."""

import copy
import functools
import itertools
import math
import numbers
import operator

import keras
import numpy as np
import tensorflow as tf

from keras_rmsprop import core
from keras_rmsprop.update_rule import UpdateRule
from keras_rmsprop.validation import (
    check_bool,
    check_choice,
    check_number,
    checked_gradient,
    fits_as_it_is,
    step_assertions,
)

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "keras_rmsprop runs on TensorFlow's training kernels and needs Keras' "
        "tensorflow backend. Received: keras.backend.backend() == "
        f"{keras.backend.backend()!r}. Set the environment variable "
        "KERAS_BACKEND=tensorflow before Keras is imported."
    )


_APPLY_SPARSE = {"lazy": core.apply_sparse, "dense": core.apply_sparse_as_dense}
_SLOT_DECIDING = ("update_rule", "momentum", "centered")
# What is checked wherever it is set, in the constructor or later.
_CHECKS = {
    "rho": functools.partial(check_number, "rho", maximum=1.0),
    "momentum": functools.partial(check_number, "momentum", maximum=1.0),
    "epsilon": functools.partial(check_number, "epsilon"),
    "centered": functools.partial(check_bool, "centered"),
    "update_rule": UpdateRule.get,
    "sparse_updates": functools.partial(
        check_choice, "sparse_updates", allowed=tuple(_APPLY_SPARSE)
    ),
}


@keras.saving.register_keras_serializable(package="keras_rmsprop")
class RMSprop(keras.optimizers.Optimizer):
    """RMSProp with the API and the state of `keras.optimizers.RMSprop`.

    Noteworthy differences from `keras.optimizers.RMSprop`:

    - Sparse gradients (`tf.IndexedSlices`, as embeddings give) update only the
      rows they name; Keras decays every row. `sparse_updates="dense"` gives
      Keras' behaviour. (Weight decay and moving averages, where asked for, are
      not part of the update and go over all rows.)
    - Slices that share an index are summed first; Keras squares them one by one.
    - Centered steps stay finite where rounding makes the variance negative.
    - Gradients, indices and arguments are checked, and wrong ones refused before
      anything changes. Only what XLA compiles (`jit_compile=True`) cannot check
      indices: there, one out of range is dropped.
    - `update_rule` selects the numerics of TF1 or OptimizerV2 instead.

    With the discounted mean `ms` of squared gradients (and `mg` of gradients,
    zero unless centered) a step is

        ms = rho * ms + (1 - rho) * g**2
        step = learning_rate * g / sqrt(ms - mg**2 + epsilon)
        variable -= step                      (momentum = 0)
        m = momentum * m + step; variable -= m    (momentum > 0)

    Args:
        learning_rate: A float (below 0 it ascends), a
            `keras.optimizers.schedules.LearningRateSchedule`, or a callable
            without arguments that returns the value to use. Defaults to 0.001.
        rho: Float in [0, 1], discount of the means. Defaults to 0.9.
        momentum: Float in [0, 1]. Defaults to 0.0, which keeps no momentum slot
            (but under `update_rule="tf1"`).
        epsilon: Float >= 0, added for numerical stability. Defaults to 1e-7
            whatever the rule; TF1's own default is 1e-10.
        centered: Whether to divide by the root of the variance of the gradient
            instead of its mean square, at the cost of one more slot. Defaults
            to False.
        weight_decay: Float >= 0, or None. The share of each variable that is
            subtracted per step, times the learning rate. Defaults to None.
        clipnorm: Float > 0, or None. Norm that no single gradient may exceed.
        clipvalue: Float > 0, or None. Bound of each gradient element.
        global_clipnorm: Float > 0, or None. Norm that all gradients together
            may not exceed. At most one of the three may be given.
        use_ema: Whether to keep a moving average of the variables.
        ema_momentum: Float in [0, 1], discount of that average.
        ema_overwrite_frequency: Every how many steps the variables take the
            value of their average, an integer >= 1; None for only at the end of
            training.
        loss_scale_factor: Float > 0, or None. What the loss is multiplied by
            and the gradients are divided by.
        gradient_accumulation_steps: Integer >= 2, or None. Over how many steps
            gradients are averaged before they are applied. Sparse gradients
            are accumulated, and then applied, as dense ones.
        name: Name of the optimizer and prefix of its variables.
        update_rule: `"keras"`, `"keras2"`, `"legacy"`, `"tf1"`, or an `UpdateRule`.
            On CPU, and not compiled by XLA, the last three give the bits of
            `tf.keras.optimizers.RMSprop` of TensorFlow 2.11 to 2.15 (with
            `sparse_updates="dense"`), `tf.keras.optimizers.legacy.RMSprop` and
            `tf.compat.v1.train.RMSPropOptimizer`. Defaults to `"keras"`.
        sparse_updates: `"lazy"` leaves rows that the gradient does not name, and
            their slots, as they are. `"dense"` treats the gradient as dense, so
            that every row decays. Defaults to `"lazy"`.

    Raises:
        ValueError: If an argument is unknown or out of range.

    Example:

    >>> optimizer = RMSprop(learning_rate=0.1)
    >>> variable = keras.Variable(10.0)
    >>> optimizer.apply([variable.value], [variable])
    >>> print(f"{float(variable):.5f}")
    9.68377

    Source: Hinton, 2012, Neural Networks for Machine Learning, lecture 6e; the
    API is that of `keras.optimizers.RMSprop`.
    """

    def __init__(
        self,
        learning_rate=0.001,
        rho=0.9,
        momentum=0.0,
        epsilon=1e-7,
        centered=False,
        weight_decay=None,
        clipnorm=None,
        clipvalue=None,
        global_clipnorm=None,
        use_ema=False,
        ema_momentum=0.99,
        ema_overwrite_frequency=None,
        loss_scale_factor=None,
        gradient_accumulation_steps=None,
        name=None,
        *,
        update_rule="keras",
        sparse_updates="lazy",
        **kwargs,
    ):
        if kwargs.pop("decay", None) is not None or kwargs:
            raise ValueError(
                "Unknown arguments, or `decay`, which no Keras 3 optimizer has (a "
                "learning-rate schedule takes its place). Received: "
                f"{kwargs or 'decay'}"
            )
        if weight_decay is not None:
            check_number("weight_decay", weight_decay)
        check_number("ema_momentum", ema_momentum, maximum=1.0)
        above_zero = {
            "clipnorm": clipnorm,
            "clipvalue": clipvalue,
            "global_clipnorm": global_clipnorm,
            "loss_scale_factor": loss_scale_factor,
        }
        for argument, value in above_zero.items():
            if value is not None:
                check_number(argument, value, above=0)
        _check_count("gradient_accumulation_steps", gradient_accumulation_steps, 2)
        _check_count("ema_overwrite_frequency", ema_overwrite_frequency, 1)
        super().__init__(
            learning_rate=_checked_learning_rate(learning_rate),
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        self.rho = rho
        self.momentum = momentum
        self.epsilon = epsilon
        self.centered = centered
        self.update_rule = update_rule
        self.sparse_updates = sparse_updates
        self._copied_state = None
        self._stepped = None

    def __setattr__(self, name, value):
        if name in _CHECKS:
            value = _CHECKS[name](value)
            if (
                self.__dict__.get("built")
                and self._has_slots(**{name: value}) != self._has_slots()
            ):
                raise ValueError(
                    f"`{name}` cannot be set to a value that needs other slots once "
                    f"the optimizer is built. Received: {name}={value!r}. Make a "
                    "new optimizer instead."
                )
        super().__setattr__(name, value)
        if name in ("update_rule", "rho"):
            # What it holds was made for others.
            self._workspace = core.Workspace()

    def _has_slots(self, **changed):
        """Returns whether there is a momentum and a mean gradient slot."""
        values = {**{name: getattr(self, name) for name in _SLOT_DECIDING}, **changed}
        rule = values["update_rule"]
        return rule.has_momentum_slot(values["momentum"]), values["centered"]

    @property
    def learning_rate(self):
        """The current learning rate: a `keras.Variable`, or a schedule's value."""
        return self._get_current_learning_rate()

    @learning_rate.setter
    def learning_rate(self, value):
        keras.optimizers.Optimizer.learning_rate.fset(
            self, _checked_learning_rate(value)
        )

    def build(self, variables):
        """Creates the slots, all before the first step.

        Args:
            variables: List of floating or complex variables to train.

        Raises:
            ValueError: If a variable has another dtype, or belongs to another
                `tf.distribute.Strategy` than the optimizer.
        """
        if self.built:
            return
        for variable in variables:
            dtype = tf.as_dtype(variable.dtype)
            if not (dtype.is_floating or dtype.is_complex):
                raise ValueError(
                    "`variables` must be floating or complex. Received: "
                    f"{variable.name!r} of dtype {dtype.name}"
                )
            strategy = self._distribution_strategy
            if not strategy.extended.variable_created_in_scope(_native(variable)):
                raise ValueError(
                    "`variables` must belong to the `tf.distribute.Strategy` in whose "
                    f"scope the optimizer was made, {type(strategy).__name__}. "
                    f"Received: {variable.name!r} of another one. Make both in the "
                    "same scope."
                )
        super().build(variables)
        if self.use_ema and self.update_rule.average_start == "variable":
            averages = self._model_variables_moving_average
            with tf.init_scope():  # Once, where a function is being traced.
                for variable, average in zip(variables, averages):
                    if average is not None:
                        average.assign(variable)
        # Attribute names, variable names and their order are those of Keras, so
        # that its checkpoints and weight files fit.
        self._velocities = self.add_optimizer_variables(
            variables,
            "velocity",
            keras.initializers.Constant(self.update_rule.initial_mean_square),
        )
        self._momentums = []
        if self.update_rule.has_momentum_slot(self.momentum):
            self._momentums = self.add_optimizer_variables(variables, "momentum")
        self._average_gradients = []
        if self.centered:
            self._average_gradients = self.add_optimizer_variables(
                variables, "average_gradient"
            )
        self._workspace = core.Workspace()
        # To look a variable up in Keras costs more than to update a small one.
        self._lookup = _Lookup(
            variables, self._velocities, self._average_gradients, self._momentums
        )
        if self._copied_state is not None:
            state, self._copied_state = self._copied_state, None
            self.set_weights(state)

    # Nothing below decides on tensors in Python, so a user's tf.function has
    # nothing to gain from rewriting it, as AutoGraph otherwise would.
    @tf.autograph.experimental.do_not_convert
    def apply(self, grads, trainable_variables=None):
        """Applies one step.

        Args:
            grads: List with a gradient for each variable: a tensor of the
                variable's shape, a `tf.IndexedSlices`, or None to leave the
                variable alone.
            trainable_variables: List of the variables, in the same order.
                Defaults to those that the optimizer was built with.

        Raises:
            ValueError: If gradients and variables do not fit, before any of
                them changes.
        """
        grads = list(grads)
        if grads:
            with keras.name_scope(self.name, caller=self):
                self._apply(*self._checked(grads, trainable_variables))

    def _apply(self, grads, variables, natives):
        if not self.built:
            self.build(variables)
            self.built = True
        with tf.control_dependencies(step_assertions(zip(grads, natives))):
            self._apply_checked(grads, variables, natives)
            # Keras' own `assign_add` reads, adds and assigns.
            _native(self._iterations).assign_add(1, read_value=False)

    def _checked(self, grads, variables):
        """Returns gradients, variables and their `tf.Variable`s, all fit for a step."""
        if variables is None and not self.built:
            raise ValueError(
                "`trainable_variables` must be given until the optimizer is built. "
                "Received: trainable_variables=None"
            )
        variables = list(self._trainable_variables if variables is None else variables)
        if len(grads) != len(variables):
            raise ValueError(
                "`grads` must have one gradient for each variable. Received: "
                f"{len(grads)} gradients for {len(variables)} variables"
            )
        if self.built and self._lookup.covers(variables):
            natives = self._lookup.natives
        else:
            if self.built:
                self._check_variables_are_known(variables)
            natives = list(map(_native, variables))
        grads = [
            gradient
            if fits_as_it_is(gradient, native)
            or gradient is None
            or self._overwrite_variable_with_gradient(variable)
            else checked_gradient(gradient, native)
            for gradient, variable, native in zip(grads, variables, natives)
        ]
        return grads, variables, natives

    def update_step(self, gradient, variable, learning_rate):
        """Applies one gradient to one variable.

        Args:
            gradient: Tensor of the variable's shape, or `tf.IndexedSlices`.
            variable: The variable.
            learning_rate: Float or scalar tensor.
        """
        self._update([gradient], [variable], learning_rate)

    def get_config(self):
        """Returns the arguments that rebuild this optimizer, without its state."""
        return {
            **super().get_config(),
            "rho": self.rho,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "centered": self.centered,
            "update_rule": self.update_rule.get_config(),
            "sparse_updates": self.sparse_updates,
        }

    def set_weights(self, weights):
        """Sets all optimizer variables.

        Args:
            weights: List of arrays, one for each of `variables` and of its shape.

        Raises:
            ValueError: If their number or a shape differs, before any is set.
        """
        if self.built:
            weights = self._checked_state("weights", list(weights))
        super().set_weights(weights)

    def load_own_variables(self, store):
        """Sets all optimizer variables from what `save_own_variables` stored.

        Args:
            store: Mapping of `"0"`, `"1"`, ... to arrays. One of another length
                is skipped with a warning, as Keras does.

        Raises:
            ValueError: If a shape differs, before any variable is set.
        """
        if len(store.keys()) == len(self.variables):
            keys = [str(index) for index in range(len(self.variables))]
            if set(keys) != set(store.keys()):
                raise ValueError(
                    f"`store` must have the keys {keys}. "
                    f"Received: {sorted(store.keys())}"
                )
            values = self._checked_state("store", [store[key] for key in keys])
            store = dict(zip(keys, values))
        super().load_own_variables(store)

    def __deepcopy__(self, memo):
        """Copies configuration and state.

        The copy takes the state on when it is built, with the same variables or
        with copies of them.
        """
        config = self.get_config()
        if not isinstance(self._learning_rate, keras.Variable):
            config["learning_rate"] = copy.deepcopy(self._learning_rate, memo)
        twin = type(self).from_config(config)
        memo[id(self)] = twin
        for name, value in self.__dict__.items():
            if name.startswith("_exclude_from_weight_decay"):
                setattr(twin, name, copy.copy(value))
        twin._iterations.assign(self._iterations)
        if self.built:
            twin._copied_state = [variable.numpy() for variable in self.variables]
        return twin

    def _checked_state(self, argument, values):
        """Returns arrays of the variables' shapes, or raises a ValueError."""
        if len(values) != len(self.variables):
            raise ValueError(
                f"`{argument}` must hold {len(self.variables)} arrays, one for each "
                f"of the optimizer's variables. Received: {len(values)}"
            )
        arrays = []
        for variable, value in zip(self.variables, values):
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

    # From here on: Keras' own steps between `apply` and `update_step`, private
    # but unchanged since Keras 3.10. `apply` takes them itself, because Keras'
    # divides by the loss scale in a way that sparse gradients do not support.

    def _apply_checked(self, grads, variables, natives):
        if any(gradient is None for gradient in grads):
            grads, variables = self._filter_empty_gradients(grads, variables)
            natives = list(map(_native, variables))
        if any(map(self._overwrite_variable_with_gradient, variables)):
            grads, variables = self._overwrite_variables_directly_with_gradients(
                grads, variables
            )
            natives = list(map(_native, variables))
        if not grads:
            return
        scale = self.loss_scale_factor
        if scale is not None:
            grads = [
                core.map_values(lambda g: g / scale, gradient) for gradient in grads
            ]
        if self.gradient_accumulation_steps:
            grads = list(map(_densified, grads, natives))
        # Keras 2 averages only what has a gradient.
        self._stepped = frozenset(map(id, natives))
        self._backend_apply_gradients(grads, natives)
        self._stepped = None
        for variable in variables:
            constraint = getattr(variable, "constraint", None)
            if constraint is not None:
                variable.assign(constraint(variable))

    def _clip_gradients(self, grads):
        if not (self.clipnorm or self.global_clipnorm or self.clipvalue):
            return grads
        if self.update_rule.clips_slices == "summed":
            # Only sums of duplicates have the gradient's norm.
            grads = [_without_duplicates(gradient) for gradient in grads]
        values = list(map(_values, grads))
        if self.global_clipnorm and self.update_rule.bitwise:
            # As every generation but Keras 3, which rounds the norm differently.
            values, _ = tf.clip_by_global_norm(values, self.global_clipnorm)
        else:
            values = super()._clip_gradients(values)
        return [
            core.map_values(lambda _, v=value: v, gradient)
            for gradient, value in zip(grads, values)
        ]

    def _update_model_variables_moving_average(self, trainable_variables):
        if self.update_rule.average_start == "first_step":
            super()._update_model_variables_moving_average(trainable_variables)
            return
        discount = self.ema_momentum
        for variable, average in zip(
            trainable_variables, self._model_variables_moving_average
        ):
            if average is not None and id(_native(variable)) in self._stepped:
                average.assign(discount * average + (1 - discount) * variable)

    def _overwrite_model_variables_with_average_value(self, trainable_variables):
        if self.update_rule.average_start == "first_step" or self._stepped is None:
            super()._overwrite_model_variables_with_average_value(trainable_variables)
            return
        for variable, average in zip(
            map(_native, trainable_variables), self._model_variables_moving_average
        ):
            if average is not None and id(variable) in self._stepped:
                self._distribution_strategy.extended.update(
                    variable, lambda a, b: a.assign(b), args=(average,)
                )

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if tf.distribute.has_strategy() or self._is_distributed():
            super()._backend_update_step(grads, trainable_variables, learning_rate)
        elif type(self).update_step is not RMSprop.update_step:
            for gradient, variable in zip(grads, trainable_variables):
                self.update_step(gradient, variable, learning_rate)
        else:
            # Keras takes every variable through merge_call and extended.update,
            # which costs more than the step itself.
            self._update(grads, trainable_variables, learning_rate)

    def _is_distributed(self):
        return self._distribution_strategy is not tf.distribute.get_strategy()

    def _hyperparameters(self, learning_rate):
        rule = self.update_rule
        learning_rate = tf.convert_to_tensor(learning_rate)
        if rule.reciprocal_root:
            # Keras 2 puts a schedule's value into a variable first. Without something
            # in between, TensorFlow's graph optimizer regroups the product with it.
            learning_rate = tf.ensure_shape(learning_rate, learning_rate.shape)
        return core.Hyperparameters(
            learning_rate=learning_rate,
            **rule.round_hyperparameters(
                rho=self.rho, momentum=self.momentum, epsilon=self.epsilon
            ),
            one_minus_rho=None if rule.uses_kernels else 1 - self.rho,
        )

    def _update(self, grads, variables, learning_rate):
        hyper = self._hyperparameters(learning_rate)
        known = self._lookup.slots_by_id
        slots = [known.get(id(v)) or self._slots(v) for v in variables]
        variables = list(map(_native, variables))
        if any(issubclass(kind, tf.IndexedSlices) for kind in set(map(type, grads))):
            sparse = [isinstance(gradient, tf.IndexedSlices) for gradient in grads]
            for update in itertools.compress(zip(variables, slots, grads), sparse):
                self._update_sparse(*update, hyper)
            dense = list(map(operator.not_, sparse))
            variables, slots, grads = (
                list(itertools.compress(held, dense))
                for held in (variables, slots, grads)
            )
        if grads:
            core.apply_all_dense(
                self.update_rule, variables, slots, grads, hyper, self._workspace
            )

    def _update_sparse(self, variable, slots, gradient, hyper):
        gradient = _without_duplicates(gradient, variable.shape[0])
        done = _APPLY_SPARSE[self.sparse_updates](
            self.update_rule,
            variable,
            slots,
            gradient.values,
            gradient.indices,
            hyper.cast(variable.dtype),
        )
        core.share_reads(variable, done)

    def _slots(self, variable):
        # Of a Keras variable, or a replica's part of one.
        return self._lookup.slots[self._get_variable_index(variable)]


class _Lookup:
    """What Keras looks up per variable and step, kept ready."""

    def __init__(self, variables, velocities, average_gradients, momentums):
        def native(held, index):
            return _native(held[index]) if held and held[index] is not None else None

        self.variables = list(variables)
        self.natives = list(map(_native, variables))
        self.slots = [
            core.Slots(
                rms=native(velocities, index),
                mg=native(average_gradients, index),
                momentum=native(momentums, index),
            )
            for index in range(len(variables))
        ]
        self.slots_by_id = dict(zip(map(id, self.natives), self.slots))

    def covers(self, variables):
        """Whether these are exactly the optimizer's variables, in their order."""
        return len(variables) == len(self.variables) and all(
            map(operator.is_, variables, self.variables)
        )


def _check_count(argument, value, minimum):
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if value is not None and not (is_integer and value >= minimum):
        raise ValueError(
            f"`{argument}` must be an integer >= {minimum}, or None. "
            f"Received: {argument}={value!r}"
        )


def _checked_learning_rate(value):
    """Returns a float, schedule or callable; the setter also takes tensors."""
    if isinstance(value, (numbers.Real, np.number, np.ndarray)):
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value.item()
        return float(check_number("learning_rate", value, minimum=-math.inf))
    if callable(value) and not isinstance(value, type):
        return value
    if isinstance(value, (tf.Tensor, tf.Variable, keras.Variable)):
        return value
    raise ValueError(
        "`learning_rate` must be a float, a LearningRateSchedule or a callable "
        f"without arguments. Received: learning_rate={value!r}"
    )


def _native(variable):
    """Returns the `tf.Variable` behind a variable."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def _without_duplicates(gradient, rows=None):
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows = gradient.dense_shape[0] if rows is None else rows
    values, indices = core.sum_duplicates(
        gradient.values, gradient.indices, rows, compiled=core.is_compiled()
    )
    return tf.IndexedSlices(values, indices, gradient.dense_shape)


def _densified(gradient, variable):
    """Returns the dense tensor that a gradient stands for."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    return tf.math.unsorted_segment_sum(
        gradient.values, gradient.indices, variable.shape[0]
    )


def _values(gradient):
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
