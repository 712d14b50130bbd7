"""Takes the steps of a work with many optimizers: measures, finds causes, advises."""

import dataclasses
import math
import zlib

import keras
import numpy as np

from keras_rmsprop.migration import spelling
from keras_rmsprop.migration.comparison.attribution import (
    ROUNDING,
    UNEXPLAINED,
    Cause,
    attribute,
)
from keras_rmsprop.migration.comparison.differences import TOLERANCES, Differences
from keras_rmsprop.migration.comparison.result import Remedy
from keras_rmsprop.migration.comparison.simulation import Simulation
from keras_rmsprop.migration.comparison.training import (
    LegacyTrainer,
    SimulationTrainer,
    keras_trainer,
)
from keras_rmsprop.migration.waiting import PATIENCE
from keras_rmsprop.rmsprop import RMSprop
from keras_rmsprop.update_rule import LEGACY

# A simulation vouches for causes if it strays from its optimizer by no more than
# this share of the divergence.
_STRAY = 0.01


class Trials:
    """Takes the steps of a work with any number of optimizers side by side."""

    def __init__(self, work, rtol, atol, progress):
        self.rtol, self.atol = rtol, atol
        self._progress = progress
        self._work = work

    def _differences(self, rtol=None, atol=None):
        return Differences(
            self._work.names,
            self._work.start,
            self.rtol if rtol is None else rtol,
            self.atol if atol is None else atol,
        )

    def _trainer(self, make):
        trainer = make(self._work.start)
        if self._work.slots is not None:
            trainer.resume(self._work.slots, self._work.iterations)
        return trainer

    def _simulation(self, ingredients):
        return Simulation(ingredients, self._work.start, self._work.slots)

    def _train(self, trainers, doing):
        """Yields for each step the `Step` of every trainer."""
        steps = self._work.steps(trainers)
        yield from self._progress.over(steps, self._work.count, doing)

    def compare(self, *pair):
        """Trains both and returns what was measured.

        Returns:
            The `Differences`, both participants with their learning rates, and for
            each the `Differences` between its steps and their simulation.
        """
        found = self._differences()
        simulations = [self._simulation(one.ingredients) for one in pair]
        dtype = self._work.start[0].dtype.name
        strays = [self._differences(*TOLERANCES[dtype]) for _ in pair]
        rates = [[], []]
        trainers = [self._trainer(one.make_trainer) for one in pair]
        for steps in self._train(trainers, "comparing"):
            found.add(_filled(*steps), steps[1])
            for step, simulation, stray, rate in zip(steps, simulations, strays, rates):
                simulation.assign(step.changed)
                values = simulation.apply(step.gradients, step.learning_rate)
                if _is_finite(step):
                    stray.add(step, step._replace(values=values))
                rate.append(step.learning_rate)
        first, second = (
            dataclasses.replace(one, ingredients=one.ingredients.with_rates(rate))
            for one, rate in zip(pair, rates)
        )
        return found, first, second, strays

    def causes(self, first, second, found, strays):
        """Returns the causes of the divergence that was found."""
        finite = [
            step.max_abs_difference
            for step in found.steps
            if math.isfinite(step.max_abs_difference)
        ]
        divergence = max(finite, default=0.0)
        notes = [
            _stray_note(which, one, stray)
            for which, one, stray in zip(
                ("reference", "candidate"), (first, second), strays
            )
            if not stray.equivalent
            and not stray.max_abs_difference <= _STRAY * divergence
        ]
        if notes:
            return (Cause(UNEXPLAINED, note="; ".join(notes)),)
        differing = first.ingredients.differing(second.ingredients)
        rounding = (Cause(ROUNDING, remaining=divergence),)
        if len(finite) < len(found.steps) and first.ingredients.centered:
            note = (
                f"only one of both is finite from step {len(finite) + 1} on: the "
                "centered variance rounds below zero, where shipped optimizers take "
                "its root and ours let the element stand still"
            )
            swapped = self._swapped(first, second) if differing else ()
            return (*swapped, Cause(ROUNDING, note=note))
        if not differing:
            return rounding
        if found.equivalent:
            return ()
        return self._swapped(first, second) or rounding

    def _swapped(self, first, second):
        def measure(variants):
            trainers = [self._trainer(first.make_trainer)] + [
                SimulationTrainer(self._simulation(variant)) for variant in variants
            ]
            made = [self._differences() for _ in variants]
            for expected, *steps in self._train(trainers, "finding causes"):
                if not _is_finite(expected):
                    break
                for differences, step in zip(made, steps):
                    differences.add(expected, step)
            return made

        return attribute(first.ingredients, second.ingredients, measure)

    def remedy(self, first):
        """Returns the optimizer of ours that equals the reference, as measured.

        Where none stays within the tolerance, it is the last one tried.
        """
        for name, arguments, make_trainer in _proposals(first, self._work.iterations):
            found = self._differences()
            trainers = [
                self._trainer(make) for make in (first.make_trainer, make_trainer)
            ]
            for steps in self._train(trainers, "checking the advice"):
                found.add(*steps)
            remedy = Remedy(
                call=spelling.call(name, arguments),
                code=spelling.code(name, arguments),
                equivalent=found.equivalent,
                max_abs_difference=found.max_abs_difference,
                max_ulp=found.max_ulp,
            )
            if remedy.equivalent:
                break
        return remedy


class _Measured(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rates that a run took, from its first step on."""

    def __init__(self, rates, first):
        self._rates, self._first = keras.ops.convert_to_tensor(rates), first

    def __call__(self, step):
        return keras.ops.take(self._rates, keras.ops.cast(step, "int32") - self._first)


def _filled(expected, actual):
    """Returns a recorded step with the values that its checksums vouch for."""
    if expected.values is not None or list(expected.checksums) != [
        zlib.crc32(value.tobytes()) for value in actual.values
    ]:
        return expected
    return expected._replace(values=actual.values)


def _is_finite(step):
    return step.values is None or all(np.isfinite(v).all() for v in step.values)


def _proposals(participant, iterations):
    """Yields name, arguments and trainer of our optimizers that may equal another."""
    chosen = participant.ingredients
    # The modern class takes one kind of clipping.
    if len(chosen.clipping) < 2:
        arguments = {
            "learning_rate": participant.learning_rate
            if len(set(chosen.evaluation)) > 1
            else chosen.learning_rate,
            "rho": chosen.rho,
            "momentum": chosen.momentum,
            "epsilon": chosen.epsilon,
            "centered": chosen.centered or None,
            "weight_decay": chosen.weight_decay or None,
            **dict(chosen.clipping),
            "update_rule": participant.rule.get_config(),
            "sparse_updates": chosen.sparse_updates,
        }
        given = {k: v for k, v in arguments.items() if v is not None}
        given["learning_rate"] = _Measured(chosen.rates(), iterations)
        yield (
            "keras_rmsprop.RMSprop",
            arguments,
            lambda start: keras_trainer(RMSprop(**given), start),
        )
    elif participant.rule == LEGACY and keras.backend.backend() == "tensorflow":
        from keras_rmsprop.legacy import RMSprop as LegacyRMSprop

        arguments = {
            **participant.arguments,
            "sparse_updates": chosen.sparse_updates,
        }
        yield (
            "keras_rmsprop.legacy.RMSprop",
            arguments,
            lambda start: LegacyTrainer(LegacyRMSprop(**arguments), start),
        )


def _stray_note(which, participant, stray):
    note = (
        f"the simulation strays from the steps of the {which} by "
        f"{stray.max_abs_difference:.3g}"
    )
    if participant.not_simulated:
        note += f"; not simulated: {', '.join(participant.not_simulated)}"
    return note


class Progress:
    """A bar on terminals, from when a comparison has taken some seconds."""

    def __enter__(self):
        try:
            from tqdm import tqdm
        except ImportError:
            self._bar = None
        else:
            self._bar = tqdm(unit="step", delay=PATIENCE, leave=False, disable=None)
        return self

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.close()

    def over(self, iterable, total, doing):
        """Yields the items, counting them as the next part of the work."""
        if self._bar is None:
            yield from iterable
            return
        # How many parts there will be is not known before they are measured.
        self._bar.set_description(doing, refresh=False)
        self._bar.total = self._bar.n + total
        for item in iterable:
            yield item
            self._bar.update()
