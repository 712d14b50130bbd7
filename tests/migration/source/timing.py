"""Times `keras-rmsprop upgrade` over a generated tree: no test, run it by hand.

    PYTHONPATH=. python tests/migration/source/timing.py --files=20000

Of the files, most are modules of Python's own library; 25 of 1000 use RMSProp in code
of 10 kB on average, and 3 of 1000 are notebooks that do: the shares in what public
packages and repositories of Keras programs hold.
"""

import json
import os
import pathlib
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time

from absl import app, flags

_FILES = flags.DEFINE_integer("files", 20_000, "how many files to generate", 1)

_REPOSITORY = pathlib.Path(__file__).parents[3]
_PROGRAM = """
import tensorflow as tf
from keras.layers import Dense
from keras.optimizers import RMSprop


def build(units, rate=1e-3):
    model = keras.Sequential()
    model.add(Dense(units, activation="relu", input_shape=(64,)))
    model.add(Dense(10, activation="softmax"))
    model.compile(loss="mse", optimizer=RMSprop(lr=rate, decay=1e-6))
    return model


def graph(loss):
    optimizer = tf.train.RMSPropOptimizer(0.01, momentum=0.9)
    return optimizer.minimize(loss)
"""


def _library():
    """Modules of the standard library that do not mention RMSProp, of usual length."""
    for path in sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py")):
        if 1_000 < path.stat().st_size < 40_000:
            yield path.read_bytes()


def _files(count):
    """Yields a name and the content of each file."""
    modules = list(_library())
    for index in range(count):
        module = modules[index % len(modules)]
        if index % 333 == 0:
            lines = [f"{line}\n" for line in _PROGRAM.splitlines()]
            cells = [{"cell_type": "code", "source": lines, "metadata": {}}]
            yield f"{index}.ipynb", json.dumps({"cells": cells}).encode()
        elif index % 40 == 1:
            # A program of its own beside a module's code, for its length.
            plain = modules[index // 100 % len(modules)].decode(errors="replace")
            plain = plain.replace("from __future__", "# from __future__")
            yield f"{index}.py", (_PROGRAM + plain).encode()
        else:
            yield f"{index}.py", module


def main(_):
    with tempfile.TemporaryDirectory() as root:
        for name, data in _files(_FILES.value):
            folder = os.path.join(root, str(int(name.split(".")[0]) // 100))
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
        command = [sys.executable, "-m", "keras_rmsprop.migration.cli", "upgrade", root]
        begin = time.perf_counter()
        done = subprocess.run(
            [*command, "--check"],
            env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
            check=False,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - begin
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
    changed = len(done.stdout.splitlines())
    told = len(done.stderr.splitlines())
    processors = used.ru_utime + used.ru_stime
    print(
        f"{_FILES.value} files: {seconds:.1f} s, of processors {processors:.1f} s; "
        f"{changed} change, {told} reports"
    )


if __name__ == "__main__":
    app.run(main)
