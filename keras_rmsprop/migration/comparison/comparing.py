"""`compare`: trains with two optimizers side by side and measures."""

import dataclasses
import numbers
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_rmsprop.migration.comparison import (
    participants,
    porting,
    recorded,
    workloads,
)
from keras_rmsprop.migration.comparison.attribution import UNEXPLAINED
from keras_rmsprop.migration.comparison.differences import TOLERANCES
from keras_rmsprop.migration.comparison.result import Comparison
from keras_rmsprop.migration.comparison.training import Objective
from keras_rmsprop.migration.comparison.trials import Progress, Trials
from keras_rmsprop.migration.comparison.work import Replay, Training
from keras_rmsprop.validation import check_number

_STEPS = 100


def compare(
    reference: Any,
    candidate: Any,
    *,
    model: Any = None,
    data: Any = None,
    steps: int | None = None,
    batch_size: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    name_map: Mapping[str, str] | None = None,
) -> Comparison:
    """Trains with two optimizers from the same start and says how and why they differ.

    Both train a twin of the same model on the same batches, with loss and gradients
    from the same operations; a TF1 optimizer steps in a graph and session of its own,
    the others in a `tf.function`. An element matches where
    `|candidate - reference| <= atol + rtol * |reference|` after every step.

    The reference may also be a recording of a run that cannot be run again
    (`docs/recording.md`). The candidate then starts from the recorded variables and
    slots and takes the recorded gradients. With `model`, the recorded variables are
    also put into that model before each step, and its loss and gradients held against
    the recorded ones: `Comparison.port` says whether the model is the same.

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
            train in, so that its learning rate can depend on the global step. Or one
            of these classes, which is called without arguments; or what the command
            line takes, such as `"tf1:momentum=0.9"`
            (`keras-rmsprop compare --help` lists the kinds), where TF1's classes have
            a learning rate of 0.001 if none is given. Or a `Recording`, or its path.
        candidate: Another optimizer, to be held against the reference; no recording.
        model: A built Keras model, compiled with a loss, whose trainable variables
            share one floating dtype, or a callable without arguments that builds
            one. Defaults to a small network on scikit-learn's digits and, where
            the two optimizers treat sparse gradients differently, an embedding on
            text that ships with Python beside it. With a recording: the model that
            is to be the recorded one; defaults to none.
        data: Tuple of two arrays, cut into batches in their order, or an iterable of
            `(x, y)` batches, repeated where it has fewer than `steps`.
            Needed with `model`, and only then. With a recording: the batches of its
            steps, in their order; defaults to the recorded ones.
        steps: Positive integer, number of steps. Defaults to 100, or to all that a
            recording holds.
        batch_size: Positive integer, length of the batches that arrays, or the
            built-in data, are cut into. Defaults to 32.
        rtol: Float >= 0. Relative tolerance. Defaults by dtype: 1e-7 in float64,
            1e-4 in float32, 1e-2 in float16, 5e-2 in bfloat16.
        atol: Float >= 0. Absolute tolerance. Defaults by dtype: 1e-9 in float64,
            1e-5 in float32, 1e-2 in float16, 5e-2 in bfloat16.
        name_map: Dictionary of recorded names by paths of the model's variables, for
            those that cannot be matched as `OptimizerState.apply_to` does. Only with
            a recording and a model. Defaults to None.

    Returns:
        A `Comparison`.

    Raises:
        ValueError: If an argument is not as described, or if Keras does not run on
            TensorFlow and the reference is no recording, or `model` is given.

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
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None:
            check_number(name, value)
    _check_count("steps", steps)
    _check_count("batch_size", batch_size)
    _check_backend(reference, model)
    if recorded.is_recording(reference):
        return _compare_with_recording(
            recorded.read(reference),
            candidate,
            model,
            data,
            name_map,
            steps,
            batch_size,
            rtol,
            atol,
        )
    if name_map is not None:
        raise ValueError(
            "`name_map` can only be given where `reference` is a recording and `model` "
            f"is given. Received: name_map={name_map!r}"
        )
    steps = steps or _STEPS
    first = participants.read("reference", reference)
    second = participants.read("candidate", candidate)
    model, batches, workload = _workload(model, data, steps, batch_size, first, second)
    with Objective(model) as objective:
        work = Training(objective, batches, workload, steps)
        return _compare(work, first, second, rtol, atol)


def _check_backend(reference, model):
    """Refuses, under other backends than TensorFlow, what trains a model."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return
    if not recorded.is_recording(reference) or model is not None:
        raise ValueError(
            "To compare two live optimizers, or a model, Keras has to run on "
            "TensorFlow: set KERAS_BACKEND=tensorflow. Under another backend "
            "`reference` must be a recording, with `model` left out. Received: "
            f"keras.backend.backend() == {backend!r}"
        )


def _compare_with_recording(
    recording, candidate, model, data, name_map, steps, batch_size, rtol, atol
):
    first = recorded.participant(recording)
    second = participants.read("candidate", candidate)
    recorded.check_clipping(recording, second)
    if recording.clipped:
        second = participants.read("candidate", candidate, clips=False)
    if steps is not None and steps > len(recording):
        raise ValueError(
            f"`steps` must be at most {len(recording)}, the steps of "
            f"{str(recording.path)!r}. Received: steps={steps}"
        )
    work = Replay(
        recording, steps or len(recording), first.ingredients.initial_mean_square
    )
    port = porting.check(
        recording, model, data, name_map, work.count, rtol, atol, batch_size
    )
    found = _compare(work, first, second, rtol, atol)
    # The candidate trained no model of its own.
    figures = [dataclasses.replace(s, candidate_loss=None) for s in found.steps]
    return dataclasses.replace(found, steps=tuple(figures), port=port)


def _compare(work, first, second, rtol, atol):
    dtype = work.start[0].dtype.name
    default_rtol, default_atol = TOLERANCES[dtype]
    with Progress() as progress:
        trials = Trials(
            work,
            default_rtol if rtol is None else float(rtol),
            default_atol if atol is None else float(atol),
            progress,
        )
        found, first, second, strays = trials.compare(first, second)
        if not found.steps:
            raise ValueError(
                "`reference` must hold values of variables after a step. Received: a "
                "recording that has none in the steps to compare"
            )
        comparison = Comparison(
            reference=str(first),
            candidate=str(second),
            workload=work.description,
            dtype=dtype,
            rtol=trials.rtol,
            atol=trials.atol,
            steps=tuple(found.steps),
            variables=tuple(found.variables),
            unjudged=found.unjudged,
            remark=first.remark,
        )
        if (
            comparison.max_ulp == 0
            or comparison.first_divergence is None
            and (comparison.unjudged)
        ):
            return comparison
        causes = trials.causes(first, second, comparison, strays)
        remedy = None
        if not comparison.equivalent and UNEXPLAINED not in [c.name for c in causes]:
            remedy = trials.remedy(first)
        return dataclasses.replace(comparison, causes=causes, remedy=remedy)


def assert_equivalent(
    reference: Any,
    candidate: Any,
    *,
    model: Any = None,
    data: Any = None,
    steps: int | None = None,
    batch_size: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    name_map: Mapping[str, str] | None = None,
) -> None:
    """Asserts that two optimizers train alike, for use in tests.

    Args:
        reference: As for `compare`.
        candidate: As for `compare`.
        model: As for `compare`.
        data: As for `compare`.
        steps: As for `compare`.
        batch_size: As for `compare`.
        rtol: As for `compare`.
        atol: As for `compare`.
        name_map: As for `compare`.

    Raises:
        AssertionError: If they do not, with the report of `compare`; with a recording
            and a model also if the model is not the recorded one.
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
        reference,
        candidate,
        model=model,
        data=data,
        steps=steps,
        batch_size=batch_size,
        rtol=rtol,
        atol=atol,
        name_map=name_map,
    )
    if not found.equivalent or (found.port and not found.port.agrees):
        raise AssertionError(found.report())


def _check_count(name, value):
    if value is None:
        return
    whole = isinstance(value, (numbers.Integral, np.integer))
    if not whole or isinstance(value, bool) or value < 1:
        raise ValueError(
            f"`{name}` must be an integer >= 1. Received: {name}={value!r}"
        )


def _workload(model, data, steps, batch_size, first, second):
    if (model is None) != (data is None):
        given, missing = ("model", "data") if data is None else ("data", "model")
        raise ValueError(
            f"`{missing}` must be given where `{given}` is. Received: {missing}=None"
        )
    if model is not None:
        batches = workloads.checked_batches(data, steps, batch_size)
        model = workloads.checked_model(model)
        return model, batches, f"the model {model.name!r}"
    size = {} if batch_size is None else {"batch_size": batch_size}
    differing = first.ingredients.differing(second.ingredients)
    if {"sparse_updates", "duplicate_indices"} & set(differing):
        model, batches = workloads.digits_and_text(**size)
        name = "digits and text"
    else:
        model, batches = workloads.digits(**size)
        name = "digits"
    return model, workloads.checked_batches(batches, steps), name
