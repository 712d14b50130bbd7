"""The first steps of one optimizer in a process of its own.

`run.py` starts it: `fresh.py SIZES DEVICE ROW PEER VARIANT` prints a JSON object
with the seconds of the first step, the state and, on Linux without a GPU, the peak
memory.
"""

import gc
import json
import pathlib
import re
import sys
import time

_STATUS = pathlib.Path("/proc/self/status")


def resident(kind):
    """Returns bytes of resident memory: `"VmRSS"` now, `"VmHWM"` at most."""
    return int(re.search(rf"{kind}:\s*(\d+) kB", _STATUS.read_text())[1]) * 1024


def forget_peak():
    """Lets `VmHWM` start anew from `VmRSS`."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")


def first_steps(problem, hyper, make, memory):
    """Takes six steps.

    Args:
        problem: `Problem`.
        hyper: `Hyper`.
        make: Callable from both to a `Program`.
        memory: Whether to measure memory.

    Returns:
        A dictionary of figures. Memory is counted above what the variables and
        their gradients occupy, so the optimizer's state is part of it.
    """
    arrays = problem.values, problem.gradients
    gc.collect()
    before = resident("VmRSS") if memory else None
    program = make(problem, hyper)
    peaks = []
    durations = []
    for steps in (1, 5):
        if memory:
            forget_peak()
        start = time.perf_counter()
        for _ in range(steps):
            program.step()
        program.synchronize()
        durations.append(time.perf_counter() - start)
        if memory:
            peaks.append(resident("VmHWM"))
    del arrays
    state = program.state()
    figures = {
        "first_step": durations[0],
        "state": sum(size for _, size in state),
        "slots": sum(len(shape) > 0 for shape, _ in state) / len(problem.shapes),
    }
    if memory:
        occupied = before + 2 * problem.bytes()
        figures["memory/first_step"] = peaks[0] - occupied
        figures["memory/later_steps"] = peaks[1] - occupied
    return figures


def main(sizes, device, row, peer, variant):
    """Prints the figures of one variant of a peer in a row of the benchmark."""
    from peers import PEERS, prepare, uses_gpu
    from works import SIZES, rows

    prepare(device)
    work = rows(SIZES[sizes])[row]
    PEERS[peer].missing()  # Imports it, which is no part of a step.
    make = PEERS[peer].dense["compiled"][variant]
    memory = _STATUS.exists() and not uses_gpu()
    print(json.dumps(first_steps(work.problem, work.hyper, make, memory)))


if __name__ == "__main__":
    main(*sys.argv[1:])
