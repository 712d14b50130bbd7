"""Says on a terminal what is being waited for."""

import contextlib
import os
import sys
import threading
import time

# Seconds after which one wonders. What takes less says nothing.
PATIENCE = 2


@contextlib.contextmanager
def waiting(what):
    """Counts seconds on standard error, where it is a terminal, and wipes them off.

    Args:
        what: What is being done, such as `"Reading a checkpoint"`.
    """
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    start = time.monotonic()
    done = threading.Event()

    def count(terminal):
        wait = PATIENCE
        while not done.wait(wait):
            wait = 1
            line = f"{what}: {time.monotonic() - start:.0f} s"
            terminal.write(f"\r{line}")
            terminal.flush()
        if wait == 1:
            terminal.write("\r" + " " * (len(line) + 1) + "\r")

    # Its own, for standard error may lead elsewhere meanwhile.
    with open(os.dup(sys.stderr.fileno()), "w") as terminal:
        counting = threading.Thread(target=count, args=[terminal], daemon=True)
        counting.start()
        try:
            yield
        finally:
            done.set()
            counting.join()
