"""What optimizers are compared on: a model that they train, or a recorded run."""

import itertools
import os

import numpy as np
import tensorflow as tf

from keras_rmsprop.migration.comparison.training import Run, Step
from keras_rmsprop.migration.recording import Slices


class Training:
    """Trains a model with each optimizer, on batches repeated in turn.

    Args:
        objective: An `Objective`.
        batches: List of batches `(x, y)`.
        description: What is trained, as text.
        count: Number of steps.

    Attributes:
        names: List of the variables' names.
        start: List of arrays, their first values.
        slots: List of dictionaries of slots to start from; None for new ones.
        iterations: Number of steps that the optimizers have counted before.
    """

    slots = None
    iterations = 0

    def __init__(self, objective, batches, description, count):
        self.names, self.start = objective.names, objective.start
        self.description, self.count = description, count
        self._objective, self._batches = objective, batches

    def steps(self, trainers):
        """Yields for each step the `Step` of every trainer."""
        runs = [Run(self._objective, trainer) for trainer in trainers]
        batches = itertools.cycle(self._batches)
        for x, y in itertools.islice(batches, self.count):
            yield [run.step(x, y) for run in runs]


class Replay:
    """Gives each optimizer the gradients of a recorded run.

    Args:
        recording: A `Recording`.
        count: Number of steps, at most those of the recording.
        initial_mean_square: Where the mean square of a new run starts.

    Attributes:
        names: List of the variables' names.
        start: List of arrays, their first values.
        slots: List of dictionaries of slots, if the run was resumed; else None.
        iterations: Number of steps that the optimizer had counted before.
    """

    def __init__(self, recording, count, initial_mean_square):
        self.names, self.start = list(recording.names), list(recording.start)
        self.count = count
        self.iterations = recording.iterations
        new = {"rms": initial_mean_square}
        fresh = not self.iterations and all(
            np.all(value == new.get(slot, 0.0))
            for slots in recording.start_slots
            for slot, value in slots.items()
        )
        self.slots = None if fresh else list(recording.start_slots)
        name = os.path.basename(recording.path)
        self.description = f"the gradients recorded in {name!r}"
        if recording.stopped:
            self.description += f" (which ends early: {recording.stopped})"
        self._recording = recording

    def steps(self, trainers):
        """Yields for each step the `Step` of every trainer."""
        for recorded in itertools.islice(self._recording, self.count):
            gradients = list(map(_as_tensor, recorded.gradients, self.start))
            for trainer in trainers:
                trainer.assign(recorded.changed)
            yield [
                Step(
                    recorded.loss,
                    recorded.gradients,
                    *trainer.apply(gradients),
                    checksums=recorded.checksums,
                    changed=recorded.changed,
                )
                for trainer in trainers
            ]


def _as_tensor(gradient, variable):
    if isinstance(gradient, Slices):
        return tf.IndexedSlices(
            tf.constant(gradient.values),
            tf.constant(gradient.indices),
            tf.constant(variable.shape),
        )
    return None if gradient is None else tf.constant(gradient)
