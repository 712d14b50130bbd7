"""Taking samples: of programs in turn, and of fresh processes in turn."""

import contextlib
import dataclasses
import gc
import json
import math
import random
import statistics
import subprocess
import sys
import time
import traceback


@dataclasses.dataclass(frozen=True)
class Figure:
    """The samples of one program.

    Attributes:
        samples: One figure for each repetition.
        variant: Which way to run the program gave them, where it has several.
    """

    samples: list
    variant: str = ""

    @property
    def median(self):
        """The median of the samples."""
        return statistics.median(self.samples)


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        repetitions: Samples of each program.
        processes: Samples that need a fresh process each.
        seconds: What a timed sample lasts at least.
    """

    repetitions: int
    processes: int
    seconds: float


def time_in_turn(programs, effort):
    """Measures the seconds that a step of each program takes.

    All programs are warmed up first. Then every repetition takes one sample of
    each, in an order that changes from one to the next, so that whatever slows
    the machine for a while slows all of them.

    Args:
        programs: Dictionary from name to a dictionary from variant to a callable
            that makes a `Program`.
        effort: `Effort`.

    Returns:
        A dictionary from name to the `Figure` of the fastest variant, and one from
        each name and variant that failed to the reason.
    """
    ready, samples, failures = {}, {}, {}
    for name, variants in programs.items():
        for variant, make in variants.items():
            with _failing_into(failures, (name, variant)):
                program = make()
                ready[name, variant] = (
                    program,
                    _steps_that_last(program, effort.seconds),
                )
    gc.collect()
    gc.disable()
    try:
        for key in _turns(ready, effort.repetitions, failures):
            with _failing_into(failures, key):
                program, steps = ready[key]
                seconds = _seconds_per_step(program, steps) * program.scale
                samples.setdefault(key, []).append(seconds)
    finally:
        gc.enable()
    for program, _ in ready.values():
        program.release()
    figures = {}
    for name, variant in ready.keys() - failures.keys():
        figure = Figure(samples[name, variant], variant)
        figures[name] = min(
            figures.get(name, figure), figure, key=lambda figure: figure.median
        )
    return {name: figures[name] for name in programs if name in figures}, failures


def _turns(names, rounds, failures):
    """Yields all names in every round, in another order, but none that has failed."""
    order = list(names)
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        yield from (name for name in order if name not in failures)


@contextlib.contextmanager
def _failing_into(failures, name):
    """Notes an error, shown on stderr, so that the others can be measured."""
    try:
        yield
    except Exception as error:
        traceback.print_exc()
        first, *_ = str(error).strip().splitlines() or [""]
        failures[name] = f"{type(error).__name__}: {first[:200]}"


def _steps_that_last(program, seconds):
    for _ in range(3):  # Traces, compiles, and fills caches.
        program.step()
    program.synchronize()
    steps = 1
    while (once := _seconds_per_step(program, steps)) * steps < seconds / 4:
        steps *= 2
    return math.ceil(seconds / once)


def _seconds_per_step(program, steps):
    # Untimed, because the caches, and where memory is short also the pages, have
    # served other programs since this one's last turn.
    program.step()
    program.synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        program.step()
    program.synchronize()
    return (time.perf_counter() - start) / steps


def run_in_turn(commands, effort):
    """Measures what fresh processes print, one sample of each in turn.

    Args:
        commands: Dictionary from name to the arguments of a Python process that
            prints a JSON object of figures as its last line.
        effort: `Effort`.

    Returns:
        A dictionary from figure to a dictionary from name to `Figure`, and one from
        each name that failed to the reason.
    """
    printed, failures = {name: [] for name in commands}, {}
    for name in _turns(commands, effort.processes, failures):
        with _failing_into(failures, name):
            printed[name].append(_printed_by(commands[name]))
    figures = {}
    for name in commands:
        for figure in printed[name][0] if name not in failures else ():
            samples = [found[figure] for found in printed[name]]
            figures.setdefault(figure, {})[name] = Figure(samples)
    return figures, failures


def _printed_by(arguments):
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.stderr.write(done.stderr)
        *_, last = done.stderr.strip().splitlines() or [""]
        raise RuntimeError(f"exit code {done.returncode}, {last}")
    return json.loads(done.stdout.splitlines()[-1])
