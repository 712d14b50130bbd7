"""`read_recording`: what a recorder wrote, step by step."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from keras_rmsprop.migration.recording import records, schema


class RecordedStep(NamedTuple):
    """One step of a recorded run.

    Attributes:
        step: Its number, from 0.
        gradients: List with an array, `Slices` or None for each variable.
        learning_rate: Float, as evaluated for this step.
        values: List of arrays, the variables after the step; None where not stored.
        checksums: List of the CRC-32 of each variable's bytes after the step,
            little-endian and in C order: `zlib.crc32(value.tobytes())`.
        loss: Float before the step, or None.
        batch: Nested tuples, lists and dictionaries of arrays, or None.
        changed: Dictionary of arrays by a variable's position: values before the
            step that something other than the optimizer gave to the variables since
            the step before.
        others: List of arrays, the model's other variables after the step, in the
            order of `Recording.others`; None where not stored.
    """

    step: int
    gradients: list[Any]
    learning_rate: float
    values: list[np.ndarray] | None
    checksums: list[int]
    loss: float | None
    batch: Any
    changed: dict[int, np.ndarray]
    others: list[np.ndarray] | None


class Recording:
    """A recorded run. Iterating over it reads one step at a time.

    Made by `read_recording`.

    Attributes:
        path: Path of the file.
        optimizer: Name of the optimizer's class, with its module.
        generation: `"tf1"`, `"legacy"`, `"keras2"`, `"keras"` or `"keras_2017"`; None
            if the class is not one that shipped.
        arguments: Dictionary of the constructor's arguments by the names of that API.
        evaluated: Names of those arguments that were tensors or callables, and are
            known by the value that they had in the first step.
        clipped: Whether gradients were recorded after clipping, because this version
            clips before `apply_gradients` and not in it. A replay must not clip them
            again.
        versions: Dictionary with `"tensorflow"`, `"keras"`, `"numpy"`, `"python"`.
        processor: Name of the processor.
        names: Tuple of the names of the variables.
        start: List of arrays, their values before the first step.
        start_slots: List of dictionaries of arrays by slot name, likewise.
        iterations: Int, the steps that the optimizer had counted before the first.
        others: Dictionary of arrays by name, the model's other variables, if the
            recorder was given the model.
        truncated: Whether the file ends in the middle of a record, which is left out.
        stopped: Why the recording ends before it has all steps that it was made for;
            None if it has them.
    """

    def __init__(
        self,
        path: Any,
        start: Any,
        steps: list[Any],
        truncated: bool,
        stopped: str | None,
    ) -> None:
        self.path = path
        self.optimizer: str = start.optimizer
        self.generation: str | None = start.generation
        self.arguments: dict[str, Any] = start.arguments
        self.evaluated: Any = start.evaluated
        self.clipped: bool = start.clipped
        self.versions: dict[str, str] = start.versions
        self.processor: str = start.processor
        self.names: tuple[str, ...] = start.names
        self.start: list[np.ndarray] = start.start
        self.start_slots: list[dict[str, np.ndarray]] = start.start_slots
        self.iterations: int = start.iterations
        self.others: dict[str, np.ndarray] = start.others
        self.truncated = truncated
        self.stopped = stopped
        self._start = start
        self._steps = steps

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[RecordedStep]:
        with _named(self.path), open(self.path, "rb") as file:
            for places in self._steps:
                yield self._read(file, *places)

    def _read(self, file, given_at, came_at):
        with _record(file, given_at) as (record, arrays):
            given = schema.given(record.header, arrays, self._start)
            schema.check_indices(given.gradients, self._start)
        with _record(file, came_at) as (record, arrays):
            came = schema.came(record.header, arrays, self._start)
        return RecordedStep(
            step=given.step,
            gradients=given.gradients,
            learning_rate=given.learning_rate,
            values=came.values,
            checksums=came.checksums,
            loss=given.loss,
            batch=given.batch,
            changed=given.changed,
            others=came.others,
        )

    def __repr__(self):
        return (
            f"<Recording {str(self.path)!r}: {len(self)} steps of {self.optimizer} on "
            f"{len(self.names)} variables>"
        )


def read_recording(path: str | os.PathLike[str]) -> Recording:
    """Reads a recording that `record_rmsprop.py` wrote.

    All headers are checked at once. The steps are read when they are asked for, one
    at a time, so that a recording may be larger than memory.

    Args:
        path: Path of the file.

    Returns:
        `Recording`.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is no recording, of another version of the format, or
            damaged; or, while iterating, if a step is. The message names the file,
            the record and where it starts. A record that the end of the file cuts
            off is no error, but the end of the recording.
    """
    if os.path.isdir(path):
        raise IsADirectoryError(
            f"{str(path)!r} is a directory. Give the file in it that the recorder "
            "wrote, `*.rmsprop`."
        )
    with _named(path), open(path, "rb") as file:
        records.check_magic(file)
        reading = _Reading()
        for record in records.scan(file):
            if record is None:
                reading.truncated = True
                break
            with records.located(record):
                reading.take(record, file)
        return reading.recording(path)


class _Reading:
    """Goes through the records and keeps where the complete steps are."""

    def __init__(self):
        self.truncated = False
        self._start = self._expected = self._open = None
        self._stopped = self._ended = None
        self._steps = []

    def take(self, record, file):
        """Checks the next record."""
        kind = record.header.get("record")
        if self._ended:
            raise ValueError("it follows the record that ends the recording")
        if (kind == "start") != (self._start is None):
            raise ValueError(f"it is of kind {kind!r}, and the first alone is 'start'")
        take = self._KINDS.get(kind)
        if take is None:
            raise ValueError(f"it is of the unknown kind {kind!r}")
        take(self, record, file)

    def _take_start(self, record, file):
        schema.start(record.header, record.specs)
        self._start, self._expected = schema.start(record.header, record.read(file))

    def _take_gradients(self, record, _):
        given = schema.given(record.header, record.specs, self._start)
        # The same step again: its first attempt came to nothing, as where an error
        # made a session be created anew.
        self._check_step(given.step)
        self._open = record.number, record.offset

    def _take_values(self, record, _):
        came = schema.came(record.header, record.specs, self._start)
        self._check_step(came.step)
        if self._open is None:
            raise ValueError(f"it has the values of step {came.step} and no gradients")
        self._steps.append((self._open, (record.number, record.offset)))
        self._open = None

    def _take_end(self, record, _):
        steps, self._stopped = schema.end(record.header)
        if not 0 <= steps <= len(self._steps):
            raise ValueError(f"it ends {steps} steps, and {len(self._steps)} are there")
        # Steps of threads that trained at once are found out when they end.
        del self._steps[steps:]
        self._ended = True

    _KINDS = {
        "start": _take_start,
        "gradients": _take_gradients,
        "values": _take_values,
        "end": _take_end,
    }

    def _check_step(self, step):
        if step != len(self._steps):
            raise ValueError(
                f"it is of step {step}, and step {len(self._steps)} is due"
            )

    def recording(self, path):
        """Returns the `Recording`."""
        if self._start is None:
            raise ValueError("it ends before its first record")
        if not self._ended:
            self._stopped = (
                f"the program ended after {len(self._steps)} of {self._expected} steps"
            )
        return Recording(path, self._start, self._steps, self.truncated, self._stopped)


@contextlib.contextmanager
def _record(file, place):
    """Gives a record and its arrays, and has errors say where it is."""
    record = records.read_record(file, *place)
    with records.located(record):
        yield record, record.read(file)


@contextlib.contextmanager
def _named(path):
    """Makes errors name the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not a valid recording: {error}.") from error
