"""Training with optimizers of every API, on gradients from the same operations.

One function computes loss and gradients for all optimizers, so that what differs
between two runs comes from the optimizers. Each optimizer steps variables of its
own: a Keras or OptimizerV2 optimizer in a `tf.function`, a TF1 optimizer in a
graph and session.
"""

import itertools
import types
from collections.abc import Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_rmsprop.migration.recording import Slices
from keras_rmsprop.migration.state import live

tf1 = tf.compat.v1


class Step(NamedTuple):
    """What one step of a run gave.

    Attributes:
        loss: Float, before the step; None where it is not known.
        gradients: List of arrays, `Slices` or None.
        learning_rate: Float, as the optimizer used it.
        values: List of arrays, the variables after the step; None where a recording
            does not hold them.
        checksums: Of a recorded step, the CRC-32 of each variable after it.
        changed: Of a recorded step, arrays by a variable's position: what it was set
            to before.
    """

    loss: float | None
    gradients: list
    learning_rate: float
    values: list | None
    checksums: tuple = ()
    changed: Mapping = types.MappingProxyType({})


class Objective:
    """Loss and gradients of a model; leaves the model as it found it.

    Used as a context manager, which restores all variables of the model, random
    seeds and metrics included, on exit.

    Args:
        model: A built Keras model, compiled with a loss.

    Attributes:
        names: List of the trainable variables' paths.
        start: List of arrays, their first values.
        others: List of the model's other variables.
        others_at_start: List of arrays, their first values.
    """

    def __init__(self, model):
        self._model = model
        self._trainable = model.trainable_variables
        held = {id(variable) for variable in self._trainable}
        self.others = [v for v in model.variables if id(v) not in held]
        self.names = [variable.path for variable in self._trainable]
        self.start = [variable.numpy() for variable in self._trainable]
        self.others_at_start = [variable.numpy() for variable in self.others]
        self._compute = tf.function(
            self._loss_and_gradients, autograph=False, reduce_retracing=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._load(self.start, self.others_at_start)

    def _load(self, values, others):
        for variable, value in zip(
            itertools.chain(self._trainable, self.others),
            itertools.chain(values, others),
        ):
            variable.assign(value)

    def _loss_and_gradients(self, x, y):
        with tf.GradientTape() as tape:
            predicted = self._model(x, training=True)
            loss = self._model.compute_loss(x=x, y=y, y_pred=predicted)
        variables = [variable.value for variable in self._trainable]
        return loss, tape.gradient(loss, variables)

    def evaluate(self, values, others, x, y):
        """Returns loss, gradients as tensors, and the new non-trainable values."""
        self._load(values, others)
        loss, gradients = self._compute(x, y)
        return float(loss), gradients, [variable.numpy() for variable in self.others]


class Run:
    """One optimizer on its way through the batches.

    Args:
        objective: An `Objective`.
        trainer: Object with `apply(gradients)`, which takes a step and returns
            the learning rate and the new values.
    """

    def __init__(self, objective, trainer):
        self._objective = objective
        self._trainer = trainer
        self._values = objective.start
        self._others = objective.others_at_start

    def step(self, x, y):
        """Takes one step on a batch and returns a `Step`."""
        loss, gradients, self._others = self._objective.evaluate(
            self._values, self._others, x, y
        )
        rate, self._values = self._trainer.apply(gradients)
        return Step(loss, list(map(as_numpy, gradients)), rate, self._values)


def as_numpy(gradient):
    """Returns a gradient as an array, `Slices` or None."""
    if isinstance(gradient, tf.IndexedSlices):
        return Slices(gradient.values.numpy(), gradient.indices.numpy())
    return None if gradient is None else gradient.numpy()


def fill(optimizer, variables, slots, iterations, session=None):
    """Gives an optimizer the slots and the count of a run that it goes on from.

    Args:
        optimizer: The optimizer.
        variables: List of its variables.
        slots: List of dictionaries of arrays by slot name.
        iterations: Integer.
        session: Session of the variables' graph, or None.
    """
    target = live.adapter(optimizer, session)
    target.build(variables)
    pairs = [
        (slot_variable, held[slot])
        for variable, held in zip(variables, slots)
        for slot, slot_variable in target.slots(variable).items()
        if slot in held
    ]
    if target.iterations is not None:
        pairs.append((target.iterations, np.asarray(iterations)))
    target.write(pairs)


class _CompiledTrainer:
    """Applies gradients in a `tf.function`, as `fit` does."""

    def __init__(self, optimizer, variables):
        self._optimizer = optimizer
        self._variables = variables
        self._compiled = tf.function(
            self._rate_and_step, autograph=False, reduce_retracing=True
        )

    def resume(self, slots, iterations):
        """Goes on from these slots, one dictionary for each variable."""
        fill(self._optimizer, self._variables, slots, iterations)

    def assign(self, changed):
        """Sets variables, given by their position."""
        for position, value in changed.items():
            self._variables[position].assign(value)

    def apply(self, gradients):
        try:
            rate = self._compiled(gradients)
        except tf.errors.OpError as error:
            cls = type(self._optimizer)
            raise ValueError(
                f"{cls.__module__}.{cls.__name__} cannot take a step in this training: "
                f"{_last_line(error.message)}"
            ) from error
        return float(rate), [variable.numpy() for variable in self._variables]


def _last_line(message):
    """Returns what an error of TensorFlow says after its traceback."""
    lines = (line for line in message.splitlines() if "[[{{node" not in line)
    return [line.strip() for line in lines if line.strip()][-1]


class KerasTrainer(_CompiledTrainer):
    """Steps with a Keras 3 optimizer, stock or ours.

    Args:
        optimizer: The optimizer, not built.
        start: List of arrays.
    """

    def __init__(self, optimizer, start):
        variables = [keras.Variable(value, dtype=value.dtype.name) for value in start]
        optimizer.build(variables)
        super().__init__(optimizer, variables)

    def _rate_and_step(self, gradients):
        rate = keras.ops.convert_to_tensor(self._optimizer.learning_rate)
        # `fit` scales the loss, and so the gradients that `apply` scales back.
        scale = self._optimizer.loss_scale_factor
        if scale:
            gradients = [_scaled(gradient, scale) for gradient in gradients]
        self._optimizer.apply(gradients, self._variables)
        return rate


class ArrayTrainer(KerasTrainer):
    """Steps with a Keras 3 optimizer on another backend than TensorFlow.

    Takes slices as the dense gradient that an embedding has there.
    """

    def apply(self, gradients):
        rate = float(keras.ops.convert_to_numpy(self._optimizer.learning_rate))
        scale = self._optimizer.loss_scale_factor or 1.0
        arrays = [
            None if gradient is None else tf.convert_to_tensor(gradient).numpy() * scale
            for gradient in gradients
        ]
        self._optimizer.apply(arrays, self._variables)
        return rate, [variable.numpy() for variable in self._variables]


def keras_trainer(optimizer, start):
    """Returns a trainer for a Keras 3 optimizer on the backend that there is."""
    on_tensorflow = keras.backend.backend() == "tensorflow"
    return (KerasTrainer if on_tensorflow else ArrayTrainer)(optimizer, start)


def _scaled(gradient, scale):
    if isinstance(gradient, tf.IndexedSlices):
        return tf.IndexedSlices(
            gradient.values * scale, gradient.indices, gradient.dense_shape
        )
    return None if gradient is None else gradient * scale


class LegacyTrainer(_CompiledTrainer):
    """Steps with an OptimizerV2 optimizer, of `tf_keras` or ours.

    Args:
        optimizer: The optimizer, not built.
        start: List of arrays.
    """

    def __init__(self, optimizer, start):
        super().__init__(optimizer, [tf.Variable(value) for value in start])
        # Also of variables that have no gradient in the first step.
        live.adapter(optimizer).build(self._variables)

    def _rate_and_step(self, gradients):
        # No public name gives the rate after `decay`.
        rate = self._optimizer._decayed_lr(self._variables[0].dtype)
        pairs = [p for p in zip(gradients, self._variables) if p[0] is not None]
        self._optimizer.apply_gradients(pairs)
        return rate


class Keras2Trainer(_CompiledTrainer):
    """Steps with `tf_keras.optimizers.RMSprop`.

    Args:
        optimizer: The optimizer, not built.
        start: List of arrays.
    """

    def __init__(self, optimizer, start):
        variables = [tf.Variable(value) for value in start]
        optimizer.build(variables)
        super().__init__(optimizer, variables)

    def _rate_and_step(self, gradients):
        pairs = [p for p in zip(gradients, self._variables) if p[0] is not None]
        self._optimizer.apply_gradients(pairs)
        # Of this step: it is evaluated once, at its beginning.
        return tf.identity(self._optimizer.learning_rate)


class TF1Trainer:
    """Steps with a TF1 optimizer, shipped or ours, in a graph of its own.

    Args:
        make: Takes a function of the learning rate, is called in the graph and
            returns the optimizer; the function turns a rate into a tensor.
        start: List of arrays.
    """

    def __init__(self, make, start):
        self._graph = tf.Graph()
        self._session = tf1.Session(graph=self._graph)
        with self._graph.as_default():
            self._step = tf1.train.get_or_create_global_step()
            self._variables = [
                tf1.get_variable(f"variable_{i}", initializer=value, use_resource=True)
                for i, value in enumerate(start)
            ]
            self._optimizer = make(self._fix_rate)
        self._resumed = None
        self._programs = {}
        self._changed = {}

    def _fix_rate(self, rate):
        try:
            value = rate() if callable(rate) else rate
            # An eager tensor belongs to no graph, but its value does to any.
            value = value.numpy() if hasattr(value, "numpy") else value
            self._rate = self._graph.as_graph_element(tf.convert_to_tensor(value))
        except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
            raise ValueError(
                "The learning rate of a TF1 optimizer must be a number, or the "
                "optimizer be given as a callable that builds it, to be called in "
                f"the graph of the comparison. Received: learning_rate={rate!r}"
            ) from error
        return self._rate

    def resume(self, slots, iterations):
        """Goes on from these slots, one dictionary for each variable."""
        self._resumed = slots, iterations

    def assign(self, changed):
        """Sets variables, given by their position."""
        for position, value in changed.items():
            # Before the first step, the initializers have yet to run.
            self._changed[position] = value

    def apply(self, gradients):
        gradients = list(map(as_numpy, gradients))
        placeholders, train = self._program(gradients)
        for position, value in self._changed.items():
            self._variables[position].load(value, self._session)
        self._changed.clear()
        feed = {}
        for placeholder, gradient in zip(placeholders, gradients):
            if isinstance(gradient, Slices):
                feed[placeholder.values] = gradient.values
                feed[placeholder.indices] = gradient.indices
            elif gradient is not None:
                feed[placeholder] = gradient
        # By itself first: the step counts on, and a rate may depend on the count.
        rate = self._session.run(self._rate)
        self._session.run(train, feed)
        return float(rate), self._session.run(self._variables)

    def _program(self, gradients):
        """Returns placeholders and training op for gradients of these kinds.

        A recorded run may give a variable slices in one step, and nothing in another.
        """
        kinds = tuple(map(_kind, gradients))
        if kinds not in self._programs:
            with self._graph.as_default():
                if not self._programs:
                    self._initialize()
                self._programs[kinds] = self._build(gradients)
        return self._programs[kinds]

    def _initialize(self):
        # Also slots of variables that have no gradient in the first step.
        live.adapter(self._optimizer, self._session).build(self._variables)
        self._session.run(tf1.global_variables_initializer())
        if self._resumed:
            slots, iterations = self._resumed
            fill(self._optimizer, self._variables, slots, iterations, self._session)
            self._step.load(iterations, self._session)

    def _build(self, gradients):
        placeholders = [
            _placeholder(gradient, variable)
            for gradient, variable in zip(gradients, self._variables)
        ]
        pairs = zip(placeholders, self._variables)
        train = self._optimizer.apply_gradients(
            [(gradient, v) for gradient, v in pairs if gradient is not None],
            global_step=self._step,
        )
        return placeholders, train


def _kind(gradient):
    """Returns what two gradients have in common that one placeholder can stand for."""
    if isinstance(gradient, Slices):
        return gradient.indices.dtype
    return gradient is None


def _placeholder(gradient, variable):
    if gradient is None:
        return None
    dtype, shape = variable.dtype, variable.shape
    if isinstance(gradient, Slices):
        return tf.IndexedSlices(
            tf1.placeholder(dtype, [None, *shape[1:]]),
            tf1.placeholder(gradient.indices.dtype, [None]),
            tf.constant(shape.as_list()),
        )
    return tf1.placeholder(dtype, shape)


class SimulationTrainer:
    """Steps a `Simulation` at the learning rates of its ingredients."""

    def __init__(self, simulation):
        self._simulation = simulation
        self._rates = iter(simulation.ingredients.rates())

    def assign(self, changed):
        """Sets variables, given by their position."""
        self._simulation.assign(changed)

    def apply(self, gradients):
        rate = next(self._rates)
        values = self._simulation.apply(list(map(as_numpy, gradients)), rate)
        return rate, values
