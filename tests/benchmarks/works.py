"""The rows of the benchmark: what is measured, of whom, and what is demanded."""

import dataclasses
import functools
import importlib
import pathlib
from collections.abc import Mapping

import numpy as np
from measuring import Effort, run_in_turn, time_in_turn
from peers import (
    KERAS,
    LIMIT,
    NOTHING,
    OURS,
    PEERS,
    SLOW_TO_COMPILE,
    Hyper,
    Problem,
    Program,
)
from shapes import resnet50

FACES = (OURS, "ours-legacy", "ours-tf1")


@dataclasses.dataclass(frozen=True)
class Target:
    """What a row demands of one of ours.

    Attributes:
        at_most: The bound; None to compare without judging.
        peer: Whom to compare with; None compares a row's figures with each other.
        kind: `"ratio"`, `"difference"`, or `"flatness"`: slowest over fastest.
        ours: Which of ours.
        native: The bound where native kernels are in use; None for the same.
    """

    at_most: float | None
    peer: str | None = KERAS
    kind: str = "ratio"
    ours: str | None = OURS
    native: float | None = None

    @property
    def bound(self):
        """The bound for what is measured here."""
        if self.native is not None and native_kernels():
            return self.native
        return self.at_most


@functools.cache
def native_kernels():
    """Whether optimizers of ours use native kernels in this process."""
    library = importlib.import_module("keras_rmsprop.core.native.library")
    return library.find().ops is not None


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large the measured work is.

    Attributes:
        full: Whether the sizes are those of the targets.
        width: Divisor of ResNet-50's channels.
        single: Elements of the one large variable.
        rows: Rows of the embedding table.
        growth: Rows of the tables between which a step should cost the same.
        small: Number of small variables.
        vocabulary: Rows of the model's embedding.
        batches: Batches of an epoch of the dense model, and of the other.
    """

    full: bool
    width: int
    single: int
    rows: int
    growth: tuple
    small: int
    vocabulary: int
    batches: tuple


SIZES = {
    "full": Sizes(
        full=True,
        width=1,
        single=25_000_000,
        rows=1_000_000,
        growth=(10_000, 100_000, 1_000_000, 4_000_000),
        small=200,
        vocabulary=200_000,
        batches=(400, 200),
    ),
    "short": Sizes(
        full=False,
        width=8,
        single=1_000_000,
        rows=200_000,
        growth=(10_000, 100_000),
        small=50,
        vocabulary=200_000,
        batches=(100, 20),
    ),
}


def skewed_indices(rows, count=4096, distinct=837):
    """Returns indices like those of a batch of words: few rows, some very often."""
    random = np.random.default_rng(0)
    named = random.choice(rows, distinct, replace=False)
    weights = 1.0 / np.arange(1, distinct + 1)
    again = random.choice(named, count - distinct, p=weights / weights.sum())
    return random.permutation(np.concatenate([named, again]))


@dataclasses.dataclass(frozen=True)
class Result:
    """The figures of one row.

    Attributes:
        name: Name of the row.
        title: What was measured.
        unit: Unit of the samples: `"s"`, `"B"` or `"slots"`.
        figures: Dictionary from program, or from the rows of its table, to `Figure`.
        targets: What is demanded of them.
    """

    name: str
    title: str
    unit: str
    figures: Mapping
    targets: tuple = ()


@dataclasses.dataclass(frozen=True)
class Failure:
    """A program that a row could not measure.

    Attributes:
        row: Name of the row.
        peer: Name of the peer.
        program: Its name in the row's figures.
        variant: Which of its variants.
        reason: Why.
    """

    row: str
    peer: str
    program: str | int
    variant: str
    reason: str


class Timed:
    """A row whose programs are timed in turn."""

    def __init__(self, title, programs, targets=(), peer=None):
        """Initializes the row.

        Args:
            title: What is measured.
            programs: Dictionary from name to a dictionary from variant to a
                callable that makes a `Program`.
            targets: `Target` of each demand.
            peer: The peer whose programs all are; None where their names say it.
        """
        self.title = title
        self._programs = programs
        self._targets = tuple(targets)
        self._peer = peer

    def measure(self, name, chosen, options):
        """Measures the row.

        Args:
            name: Name of the row.
            chosen: Names of the peers to measure.
            options: `Options`.

        Returns:
            A list of `Result` and one of `Failure`; both are empty where the row
            has none of the chosen peers.
        """
        programs = {
            program: variants
            for program, variants in self._programs.items()
            if (self._peer or program) in chosen
        }
        figures, failed = time_in_turn(programs, options.effort)
        failures = [
            Failure(name, self._peer or program, program, variant, reason)
            for (program, variant), reason in failed.items()
        ]
        result = Result(name, self.title, "s", figures, self._targets)
        return [result] if figures else [], failures


@dataclasses.dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        effort: `Effort`.
        sizes: A key of `SIZES`.
        device: For `peers.prepare`.
    """

    effort: Effort
    sizes: str
    device: str


@dataclasses.dataclass(frozen=True)
class Fresh:
    """A row whose figures come from the first steps of fresh processes."""

    title: str
    problem: Problem
    hyper: Hyper

    _FIGURES = {
        "first_step": (
            "seconds of the first step, tracing and compiling included",
            "s",
            Target(2.0, kind="difference", native=0.3),
        ),
        "memory/first_step": (
            "peak memory of the first step, above variables and gradients",
            "B",
            Target(1.0),
        ),
        "memory/later_steps": (
            "peak memory of later steps, above variables and gradients",
            "B",
            Target(1.0, native=0.7),
        ),
        "state": ("optimizer state", "B", Target(1.0)),
        "slots": ("slots for each variable", "slots", Target(1.0)),
    }

    def measure(self, name, chosen, options):
        """Measures a `Result` for each figure; see `Timed.measure`."""
        variants = {
            peer: next(iter(PEERS[peer].dense["compiled"]))
            for peer in chosen
            if peer not in (LIMIT, NOTHING)
        }
        script = str(pathlib.Path(__file__).with_name("fresh.py"))
        commands = {
            peer: [script, options.sizes, options.device, name, peer, variant]
            for peer, variant in variants.items()
        }
        figures, failed = run_in_turn(commands, options.effort)
        results = []
        for figure, measured in figures.items():
            title, unit, target = self._FIGURES[figure]
            named = {
                peer: dataclasses.replace(taken, variant=variants[peer])
                for peer, taken in measured.items()
            }
            row = f"{name}/{figure}"
            results.append(
                Result(row, f"{title}, {self.title}", unit, named, (target,))
            )
        return results, [
            Failure(name, peer, peer, variants[peer], reason)
            for peer, reason in failed.items()
        ]


class Import:
    """The row that measures `import keras_rmsprop` after `import keras`.

    The optimizer is part of it, because the package loads it on first use.
    """

    title = "import keras, then keras_rmsprop.RMSprop"
    _PROGRAM = (
        "import time; start = time.perf_counter(); import keras; "
        "middle = time.perf_counter(); from keras_rmsprop import RMSprop; "
        "end = time.perf_counter(); import json; "
        "print(json.dumps({'keras': middle - start, 'ours': end - start}))"
    )

    def measure(self, name, chosen, options):
        """Measures the `Result`; see `Timed.measure`."""
        commands = {OURS: ["-c", self._PROGRAM]}
        if not {KERAS, OURS} <= set(chosen):
            commands = {}
        found, failed = run_in_turn(commands, options.effort)
        figures = {program: taken[OURS] for program, taken in found.items()}
        target = Target(0.1, kind="difference")
        result = Result(name, self.title, "s", figures, (target,))
        return [result] if figures else [], [
            Failure(name, OURS, OURS, "", reason) for reason in failed.values()
        ]


def _steps(title, problem, hyper, how, targets=(), only=PEERS):
    """A row of optimizer steps; `how` is `"compiled"`, `"eager"` or `"sparse"`."""
    ways = {
        name: peer.sparse if how == "sparse" else peer.dense
        for name, peer in PEERS.items()
        if name in only
    }
    mode = "compiled" if how == "sparse" else how
    return Timed(
        title,
        {
            name: {
                variant: functools.partial(make, problem, hyper)
                for variant, make in way[mode].items()
                if targets or variant not in SLOW_TO_COMPILE
            }
            for name, way in ways.items()
            if mode in way
        },
        targets,
    )


def _tables(rows):
    return Problem(((rows, 64),), skewed_indices(rows))


def _growth(sizes, face, hyper):
    # One variant, because two that take turns would blur what grows.
    variant, make = next(iter(PEERS[face].sparse["compiled"].items()))
    targets = [Target(1.5, peer=None, kind="flatness", ours=None, native=1.3)]
    return Timed(
        f"sparse step of {PEERS[face].label} by rows of the table",
        {
            rows: {variant: functools.partial(make, _tables(rows), hyper)}
            for rows in sizes.growth
        },
        targets if face in FACES else (),
        peer=face,
    )


def _fit(build, batches, peer):
    """An epoch of `model.fit`."""
    keras = importlib.import_module(peer.keras_module)
    model, inputs, labels = build(keras, batches)
    model.compile(
        optimizer=peer.optimizer(Hyper()),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    size = len(labels) // batches
    return Program(
        step=lambda: model.fit(inputs, labels, size, verbose=0, shuffle=False),
        synchronize=lambda: None,
    )


def _dense_model(keras, batches):
    random = np.random.default_rng(0)
    model = keras.Sequential(
        [
            keras.layers.Input((64,)),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(128, "relu"),
            keras.layers.Dense(10),
        ]
    )
    inputs = random.standard_normal((32 * batches, 64), np.float32)
    return model, inputs, random.integers(0, 10, 32 * batches)


def _embedding_model(vocabulary, keras, batches):
    random = np.random.default_rng(0)
    model = keras.Sequential(
        [
            keras.layers.Input((32,), dtype="int32"),
            keras.layers.Embedding(vocabulary, 64),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(10),
        ]
    )
    words = random.zipf(1.3, (128 * batches, 32)) % vocabulary
    return model, words.astype("int32"), random.integers(0, 10, 128 * batches)


def _epochs(title, build, batches, *targets):
    return Timed(
        title,
        {
            name: {"": functools.partial(_fit, build, batches, peer)}
            for name, peer in PEERS.items()
            if peer.optimizer
        },
        targets,
    )


_FACES_BESIDE_SHIPPED = (
    Target(None, "tf1", ours="ours-tf1", native=0.75),
    Target(None, "tf_keras", ours="ours-legacy", native=0.75),
)
_CENTERED_BESIDE_SHIPPED = (
    Target(None, native=1.0),
    Target(None, "tf1", ours="ours-tf1", native=1.0),
    Target(None, "tf_keras", ours="ours-legacy", native=1.0),
)
_CENTERED = {
    "dense/161": _CENTERED_BESIDE_SHIPPED,
    "dense/one": _CENTERED_BESIDE_SHIPPED,
    "eager/learner": (Target(0.15, native=0.05),),
}


def rows(sizes):
    """Returns all rows by name.

    Args:
        sizes: `Sizes`.
    """
    plain = {"momentum=0": Hyper(), "momentum=0.9": Hyper(momentum=0.9)}
    hypers = plain | {"centered": Hyper(momentum=0.9, centered=True)}
    network = resnet50(sizes.width)
    many = "ResNet-50's 161 shapes"
    if sizes.width > 1:
        many += f" at 1/{sizes.width} width"
    steps = {
        "dense/161": (
            f"compiled step, {many}",
            Problem(network),
            "compiled",
            [
                Target(0.50, native=0.30),
                Target(None, "torch", native=1.1),
                Target(None, "optax", native=0.80),
                Target(None, LIMIT, native=1.35),
                Target(None, "keras-jit"),
                *_FACES_BESIDE_SHIPPED,
            ],
        ),
        "dense/one": (
            f"compiled step, one variable of {sizes.single:,}",
            Problem(((sizes.single,),)),
            "compiled",
            [
                Target(0.45, native=0.30),
                Target(None, "optax", native=0.80),
                Target(None, LIMIT, native=1.15),
                Target(None, "keras-jit"),
                *_FACES_BESIDE_SHIPPED,
            ],
        ),
        "eager/161": (
            f"eager step, {many}",
            Problem(network),
            "eager",
            [Target(0.20, native=0.10)],
        ),
        "eager/small": (
            f"eager step, {sizes.small} variables of 32x32",
            Problem(((32, 32),) * sizes.small),
            "eager",
            [
                Target(0.15, native=0.02),
                Target(None, "torch", native=0.5),
                Target(None, "tf1", ours="ours-tf1", native=0.5),
                Target(None, "tf_keras", ours="ours-legacy", native=0.5),
            ],
        ),
        "eager/learner": (
            "eager step, a network of 6 small variables",
            Problem(((4, 64), (64,), (64, 64), (64,), (64, 2), (2,))),
            "eager",
            [Target(0.10, native=0.05)],
        ),
        "sparse": (
            f"sparse step, {sizes.rows:,} x 64 table, 4096 indices",
            _tables(sizes.rows),
            "sparse",
            [Target(0.02, native=0.01), Target(1.1, "tf1", native=0.6)],
        ),
    }

    found = {}
    for row, (title, problem, how, targets) in steps.items():
        for name, hyper in hypers.items():
            found[f"{row}/{name}"] = _steps(
                f"{title}, {name}",
                dataclasses.replace(problem),  # Its arrays can go when the row goes.
                hyper,
                how,
                targets if name in plain else _CENTERED.get(row, ()),
            )
        for name, hyper in plain.items() if how != "eager" else ():
            found[f"{row}/bfloat16/{name}"] = _steps(
                f"{title}, bfloat16, {name}",
                dataclasses.replace(problem, dtype="bfloat16"),
                hyper,
                how,
            )
    for name, hyper in plain.items():
        for face in (*FACES, "tf1"):
            found[f"growth/{face}/{name}"] = _growth(sizes, face, hyper)
    found["fit/dense"] = _epochs(
        f"fit, small dense model, {sizes.batches[0]} batches",
        _dense_model,
        sizes.batches[0],
        Target(1.0),
    )
    found["fit/embedding"] = _epochs(
        f"fit, Embedding of {sizes.vocabulary:,} rows, {sizes.batches[1]} batches",
        functools.partial(_embedding_model, sizes.vocabulary),
        sizes.batches[1],
        Target(0.15),
        Target(None, NOTHING, native=1.5),
    )
    for name, hyper in hypers.items():
        found[f"fresh/{name}"] = Fresh(f"{many}, {name}", Problem(network), hyper)
    found["import"] = Import()
    return found
