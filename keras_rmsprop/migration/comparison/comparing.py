"""`compare`: trains with two optimizers side by side and measures."""

import dataclasses
import itertools
import math
import numbers

import keras
import numpy as np
import tensorflow as tf

from keras_rmsprop.migration.comparison import participants, workloads
from keras_rmsprop.migration.comparison.attribution import (
    ROUNDING,
    UNEXPLAINED,
    Cause,
    attribute,
)
from keras_rmsprop.migration.comparison.differences import TOLERANCES, Differences
from keras_rmsprop.migration.comparison.result import Comparison, Remedy
from keras_rmsprop.migration.comparison.simulation import Simulation
from keras_rmsprop.migration.comparison.training import (
    KerasTrainer,
    LegacyTrainer,
    Objective,
    Run,
    SimulationTrainer,
)
from keras_rmsprop.rmsprop import RMSprop
from keras_rmsprop.update_rule import LEGACY
from keras_rmsprop.validation import check_number

# A simulation vouches for causes if it strays from its optimizer by no more than
# this share of the divergence.
_STRAY = 0.01


def compare(
    reference, candidate, *, model=None, data=None, steps=100, rtol=None, atol=None
):
    """Trains with two optimizers from the same start and says how and why they differ.

    Both train a twin of the same model on the same batches, with loss and gradients
    from the same operations; a TF1 optimizer steps in a graph and session of its own,
    the others in a `tf.function`. An element matches where
    `|candidate - reference| <= atol + rtol * |reference|` after every step.

    The causes are measured: a simulation of the candidate takes over ingredients of
    the reference one at a time, trains again, and what remains of the divergence
    says what each accounts for. Before that, the simulation has to reproduce every
    step that the two optimizers took; else the cause is `"unexplained"`.

    The optimizers and the model that are passed in stay as they are. The optimizers
    train through twins made from their configuration, without the state they may
    have; variables excluded from weight decay are not carried over. All variables of
    the model get their values back.

    Args:
        reference: RMSProp optimizer, ours or shipped: `keras_rmsprop.RMSprop`,
            `keras_rmsprop.legacy.RMSprop`, `compat_v1.train.RMSPropOptimizer`,
            `keras.optimizers.RMSprop`, `tf_keras.optimizers.RMSprop`,
            `tf_keras.optimizers.legacy.RMSprop` or
            `tf.compat.v1.train.RMSPropOptimizer`. Or a callable without arguments
            that builds one; a TF1 optimizer's is called in the graph that it will
            train in, so that its learning rate can depend on the global step.
        candidate: Another, to be held against the reference.
        model: A built Keras model, compiled with a loss, whose trainable variables
            share one floating dtype, or a callable without arguments that builds
            one. Defaults to a small network on scikit-learn's digits and, where
            the two optimizers treat sparse gradients differently, an embedding on
            text that ships with Python beside it.
        data: Tuple of two arrays, cut into batches of 32 in their order, or an
            iterable of `(x, y)` batches, repeated where it has fewer than `steps`.
            Needed with `model`, and only then.
        steps: Positive integer. Number of steps.
        rtol: Float >= 0. Relative tolerance. Defaults by dtype: 1e-7 in float64,
            1e-4 in float32, 1e-2 in float16, 5e-2 in bfloat16.
        atol: Float >= 0. Absolute tolerance. Defaults by dtype: 1e-9 in float64,
            1e-5 in float32, 1e-2 in float16, 5e-2 in bfloat16.

    Returns:
        A `Comparison`.

    Raises:
        ValueError: If an argument is not as described.

    Example:

    >>> import keras
    >>> from keras_rmsprop import RMSprop, migration
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> x = np.linspace(-1, 1, 96, dtype="float32").reshape(32, 3)
    >>> found = migration.compare(
    ...     RMSprop(0.01, epsilon=1e-3), RMSprop(0.01), model=model,
    ...     data=(x, x[:, :1]), steps=10)
    >>> found.equivalent, found.first_divergence
    (False, 1)
    >>> [cause.name for cause in found.causes]
    ['epsilon value']
    """
    _check_steps(steps)
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None:
            check_number(name, value)
    first = participants.read("reference", reference)
    second = participants.read("candidate", candidate)
    model, batches, workload = _workload(model, data, steps, first, second)

    with Objective(model) as objective, _Progress() as progress:
        dtype = objective.start[0].dtype.name
        default_rtol, default_atol = TOLERANCES[dtype]
        training = _Training(
            objective,
            batches,
            steps,
            default_rtol if rtol is None else float(rtol),
            default_atol if atol is None else float(atol),
            progress,
        )
        found, first, second, stray = training.compare(first, second)
        comparison = Comparison(
            reference=str(first),
            candidate=str(second),
            workload=workload,
            dtype=dtype,
            rtol=training.rtol,
            atol=training.atol,
            steps=tuple(found.steps),
            variables=tuple(found.variables),
        )
        if comparison.max_ulp == 0:
            return comparison
        causes = training.causes(first, second, comparison, stray)
        remedy = None
        if not comparison.equivalent and UNEXPLAINED not in [c.name for c in causes]:
            remedy = training.remedy(first)
        return dataclasses.replace(comparison, causes=causes, remedy=remedy)


def assert_equivalent(
    reference, candidate, *, model=None, data=None, steps=100, rtol=None, atol=None
):
    """Asserts that two optimizers train alike, for use in tests.

    Args:
        reference: As for `compare`.
        candidate: As for `compare`.
        model: As for `compare`.
        data: As for `compare`.
        steps: As for `compare`.
        rtol: As for `compare`.
        atol: As for `compare`.

    Raises:
        AssertionError: If they do not, with the report of `compare`.
        ValueError: If an argument is not as described for `compare`.

    Example:

    >>> import keras
    >>> from keras_rmsprop import RMSprop, migration
    >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    >>> model.compile(loss="mse")
    >>> x = np.linspace(-1, 1, 96, dtype="float32").reshape(32, 3)
    >>> migration.assert_equivalent(
    ...     keras.optimizers.RMSprop(0.01), RMSprop(0.01), model=model,
    ...     data=(x, x[:, :1]), steps=10)
    """
    found = compare(
        reference, candidate, model=model, data=data, steps=steps, rtol=rtol, atol=atol
    )
    if not found.equivalent:
        raise AssertionError(found.report())


class _Training:
    """Trains any number of optimizers in step, on one objective and its batches."""

    def __init__(self, objective, batches, steps, rtol, atol, progress):
        self.rtol, self.atol = rtol, atol
        self._progress = progress
        self._objective = objective
        self._batches = batches
        self._steps = steps

    def _differences(self, rtol=None, atol=None):
        return Differences(
            self._objective.names,
            self._objective.start,
            self.rtol if rtol is None else rtol,
            self.atol if atol is None else atol,
        )

    def _train(self, trainers, doing):
        """Yields for each step the `Step` of every trainer."""
        runs = [Run(self._objective, trainer) for trainer in trainers]
        batches = itertools.islice(itertools.cycle(self._batches), self._steps)
        for x, y in self._progress.over(batches, self._steps, doing):
            yield [run.step(x, y) for run in runs]

    def compare(self, *pair):
        """Trains both and returns what was measured.

        Returns:
            The `Differences`, both participants with their learning rates, and for
            each the `Differences` between its steps and their simulation.
        """
        start = self._objective.start
        found = self._differences()
        simulations = [Simulation(one.ingredients, start) for one in pair]
        dtype = start[0].dtype.name
        strays = [self._differences(*TOLERANCES[dtype]) for _ in pair]
        rates = [[], []]
        trainers = [one.make_trainer(start) for one in pair]
        for steps in self._train(trainers, "comparing"):
            found.add(*steps)
            for step, simulation, stray, rate in zip(steps, simulations, strays, rates):
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
            start = self._objective.start
            trainers = [first.make_trainer(start)] + [
                SimulationTrainer(Simulation(variant, start)) for variant in variants
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
        start = self._objective.start
        for name, arguments, make_trainer in _proposals(first):
            found = self._differences()
            trainers = [first.make_trainer(start), make_trainer(start)]
            for steps in self._train(trainers, "checking the advice"):
                found.add(*steps)
            remedy = Remedy(
                call=participants.call(name, arguments),
                equivalent=found.equivalent,
                max_abs_difference=found.max_abs_difference,
                max_ulp=found.max_ulp,
            )
            if remedy.equivalent:
                break
        return remedy


class _Recorded(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rates that a run recorded."""

    def __init__(self, rates):
        self._rates = tf.constant(rates)

    def __call__(self, step):
        return self._rates[tf.cast(step, tf.int32)]


def _is_finite(step):
    return all(np.isfinite(value).all() for value in step.values)


def _proposals(participant):
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
        given["learning_rate"] = _Recorded(chosen.rates())
        yield (
            "keras_rmsprop.RMSprop",
            arguments,
            lambda start: KerasTrainer(RMSprop(**given), start),
        )
    if participant.rule == LEGACY:
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


def _check_steps(steps):
    whole = isinstance(steps, (numbers.Integral, np.integer))
    if not whole or isinstance(steps, bool) or steps < 1:
        raise ValueError(f"`steps` must be an integer >= 1. Received: steps={steps!r}")


def _workload(model, data, steps, first, second):
    if (model is None) != (data is None):
        given, missing = ("model", "data") if data is None else ("data", "model")
        raise ValueError(
            f"`{missing}` must be given where `{given}` is. Received: {missing}=None"
        )
    if model is not None:
        batches = workloads.checked_batches(data, steps)
        model = workloads.checked_model(model)
        return model, batches, f"the model {model.name!r}"
    differing = first.ingredients.differing(second.ingredients)
    if {"sparse_updates", "duplicate_indices"} & set(differing):
        model, batches = workloads.digits_and_text()
        name = "digits and text"
    else:
        model, batches = workloads.digits()
        name = "digits"
    return model, workloads.checked_batches(batches, steps), name


class _Progress:
    """A bar on terminals, from when a comparison has taken some seconds."""

    def __enter__(self):
        try:
            from tqdm import tqdm
        except ImportError:
            self._bar = None
        else:
            self._bar = tqdm(unit="step", delay=3, leave=False, disable=None)
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
