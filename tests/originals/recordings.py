"""The recordings in this folder, and this library's classes trained likewise."""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable

import keras
import numpy as np
import optimizer_programs as programs
from optimizer_programs import Problem
from record import processor, table_name

import keras_rmsprop
from compat_v1.keras import optimizer_v1
from compat_v1.train import RMSPropOptimizer
from keras_rmsprop import legacy
from keras_rmsprop.update_rule import UpdateRule

CASE = ("problem", "dtype", "indices", "arguments")


# What makes processors approximate alike, as far as the system tells.
MAKE = ("machine", "vendor_id", "cpu family", "model")


class Recording:
    """A file that `record.py` wrote.

    Attributes:
        name: Of the file, without its ending.
        version: TensorFlow's, a tuple of numbers; empty where there was none.
        metadata: What the README of this folder describes.
        inputs: The arrays that problems are made of.
    """

    def __init__(self, path):
        self.name = path.stem
        with np.load(path, allow_pickle=False) as file:
            self.metadata = json.loads(file["metadata.json"])
            self._arrays = {n: file[n] for n in file.files if n != "metadata.json"}
        tensorflow = self.metadata["versions"].get("tensorflow")
        self.version = tuple(map(int, tensorflow.split("."))) if tensorflow else ()
        self.inputs = {name: self._arrays[name] for name in programs.problem_arrays()}

    def values(self, run):
        """Returns the values of a run: of each snapshot a list of arrays."""
        return [self._look_up(run, rows) for rows in run["values"]]

    def slots(self, run):
        """Returns the slots of a run at its end, lists of arrays by name."""
        return {name: self._look_up(run, rows) for name, rows in run["slots"].items()}

    def is_from_this_processor(self):
        """Whether it was recorded on the make of processor that this runs on."""
        here, there = processor(), self.metadata["processor"]
        return all(here.get(key) == there.get(key) for key in MAKE)

    def _look_up(self, run, rows):
        shapes = programs.SHAPES[run["problem"]]
        tables = [self._arrays[table_name(run["dtype"], shape)] for shape in shapes]
        return [table[row] for table, row in zip(tables, rows, strict=True)]


@functools.cache
def recordings():
    """Returns all recordings, by name."""
    folder = pathlib.Path(__file__).parent
    return {path.stem: Recording(path) for path in sorted(folder.glob("*.npz"))}


@dataclasses.dataclass(frozen=True)
class Face:
    """A class of this library, with the settings that mirror one that shipped.

    Attributes:
        api: Kind of the class that it mirrors.
        make: Takes a recorded case's arguments and returns an optimizer.
        program: Class of its training programs.
        modes: Of the runs that it replays.
        trained_in: The mode in which it does, or None for that of the run.
        mirrors: Takes a recorded run and tells whether this face is to give it.
    """

    api: str
    make: Callable
    program: type
    modes: tuple
    mirrors: Callable = lambda run: True
    trained_in: str | None = None


def _modern(rule):
    def make(**arguments):
        sparse = UpdateRule.get(rule).shipped_sparse(arguments.get("momentum", 0.0))
        return keras_rmsprop.RMSprop(
            update_rule=rule, **{"sparse_updates": sparse, **arguments}
        )

    return make


def _legacy(**arguments):
    sparse = UpdateRule.get("legacy").shipped_sparse(arguments.get("momentum", 0.0))
    return legacy.RMSprop(sparse_updates=sparse, **arguments)


def _tf1_in_keras(decay=0.9, use_locking=None, **arguments):
    return _modern("tf1")(rho=decay, **{"epsilon": 1e-10, **arguments})


def _names_no_row_twice(run):
    """Keras 3 squares the slices of a repeated row one by one; no class here does."""
    return run["problem"] != "sparse"


def _is_a_tf1_run_in_keras(run):
    rate = run["arguments"]["learning_rate"]
    return rate not in ("placeholder", "exponential_decay")


def _is_a_legacy_run_in_keras(run):
    """Keras 3 has no `decay`, nor None for `epsilon`, and rounds norms otherwise."""
    arguments = run["arguments"]
    return not arguments.keys() & {"decay", "clipnorm", "global_clipnorm"} and (
        arguments.get("epsilon", 0) is not None
    )


class _AppliedProgram(programs.KerasProgram):
    """Where `minimize` is asked for, which Keras 3 lacks, what does the same."""

    def __init__(self, cls, problem, arguments, schedules):
        arguments = {k: v for k, v in arguments.items() if k != "minimize"}
        super().__init__(cls, problem, arguments, schedules)


EVERYWHERE = ("graph_ref", "graph_resource", "eager", "function")
FACES = {
    "compat_v1.train.RMSPropOptimizer": Face(
        "tf1", RMSPropOptimizer, programs.TF1Program, EVERYWHERE
    ),
    "optimizer_v1.RMSprop": Face(
        "keras2017",
        optimizer_v1.RMSprop,
        programs.Keras2017Program,
        EVERYWHERE,
    ),
    "legacy.RMSprop": Face("legacy", _legacy, programs.Program, EVERYWHERE),
    "RMSprop(tf1)": Face(
        "tf1",
        _tf1_in_keras,
        programs.KerasProgram,
        ("graph_ref", "graph_resource", "function"),
        _is_a_tf1_run_in_keras,
        trained_in="function",
    ),
    "RMSprop(legacy)": Face(
        "legacy",
        _modern("legacy"),
        _AppliedProgram,
        ("function",),
        _is_a_legacy_run_in_keras,
    ),
    "RMSprop(keras2)": Face(
        "keras2", _modern("keras2"), programs.KerasProgram, ("eager", "function")
    ),
    "RMSprop(keras)": Face(
        "keras3",
        _modern("keras"),
        programs.Keras3Program,
        ("eager", "function"),
        _names_no_row_twice,
    ),
}


def _key(run):
    return json.dumps([run[name] for name in CASE], sort_keys=True)


def runs_of(face, recording, mode):
    """Returns the runs in a recording that a face is to give, in one mode."""
    return [
        run
        for run in recording.metadata["runs"]
        if (run["api"], run["mode"]) == (face.api, mode) and face.mirrors(run)
    ]


@functools.cache
def _trained(name, mode):
    """Trains a face in one mode on the cases of all recordings at once."""
    face, cases = FACES[name], {}
    for recording in recordings().values():
        inputs = recording.inputs
        for replayed in face.modes if face.trained_in else [mode]:
            runs = runs_of(face, recording, replayed)
            cases.update({_key(run): run for run in runs})
    pairs = [_pair(face, run, inputs) for run in cases.values()]
    return dict(zip(cases, programs.modes()[mode](pairs), strict=True))


def _pair(face, run, inputs):
    problem = Problem(inputs, run["problem"], run["dtype"], run["indices"])
    schedules = keras.optimizers.schedules

    def make():
        return face.program(face.make, problem, run["arguments"], schedules)

    return make, problem


def replay(name, run):
    """Returns values and slots as a face computes them for a recorded run."""
    return _trained(name, FACES[name].trained_in or run["mode"])[_key(run)]
