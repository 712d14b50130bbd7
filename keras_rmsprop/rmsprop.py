"""`RMSprop`: the Keras 3 optimizer, with the numerics of any generation."""

import copy

import keras

from keras_rmsprop import arguments
from keras_rmsprop.backends.current import Step
from keras_rmsprop.state import checked_state

_SLOT_DECIDING = ("update_rule", "momentum", "centered")


@keras.saving.register_keras_serializable(package="keras_rmsprop")
class RMSprop(Step, keras.optimizers.Optimizer):
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
        arguments.check_around_the_update(
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
        )
        super().__init__(
            learning_rate=arguments.checked_learning_rate(learning_rate),
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
        if name in arguments.CHECKS:
            value = arguments.CHECKS[name](value)
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
            self, arguments.checked_learning_rate(value)
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
            dtype = keras.backend.standardize_dtype(variable.dtype)
            if not dtype.startswith(("float", "bfloat", "complex")):
                raise ValueError(
                    "`variables` must be floating or complex. Received: "
                    f"{variable.name!r} of dtype {dtype}"
                )
        self._check_trainable(variables)
        super().build(variables)
        if self.use_ema and self.update_rule.average_start == "variable":
            self._start_averages(variables)
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
        self._prepare(variables)
        if self._copied_state is not None:
            state, self._copied_state = self._copied_state, None
            self.set_weights(state)

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
            weights = checked_state("weights", list(weights), self.variables)
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
            values = checked_state(
                "store", [store[key] for key in keys], self.variables
            )
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
