"""Runs the tests in `each`, and Keras' own, under JAX and under PyTorch.

A backend is chosen when Keras is imported, so each has a process of its own. The
process has what TensorFlow computes for the programs that all of them run.
"""

import importlib.util
import os
import pathlib
import subprocess
import sys
import warnings

import backend_programs as programs
import backend_states as states
import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="session")
def on_tensorflow(tmp_path_factory):
    """A file with what the programs give on TensorFlow."""
    path = tmp_path_factory.mktemp("backends") / "tensorflow.npz"
    results = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gradients do not exist")
        for name, arguments in programs.cases().items():
            for index, value in enumerate(programs.trained(name, arguments)):
                results[f"{name}/{index}"] = value
    np.savez(path, **results)
    return path


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """A folder with what TensorFlow saved, and what it came to from there."""
    folder = tmp_path_factory.mktemp("files")
    states.write_files(folder)
    states.write_tf1_checkpoint(folder)
    return folder


def run_tests(backend, path, *options, **environment):
    """Runs a file of tests in a process of its own; fails with what it printed."""
    if importlib.util.find_spec(backend) is None:
        extra = {"jax": "test", "torch": "torch"}[backend]
        pytest.skip(f"{backend} is not installed; the extra [{extra}] has it")
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE), *sys.path]),
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rfE", "--no-header"]
        + ["-p", "no:cacheprovider", "-o", "addopts=", f"--confcutdir={HERE}"]
        + ["-o", f"pythonpath={HERE}", str(path), *options],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.fail(done.stdout + done.stderr[-5000:], pytrace=False)
    return done.stdout


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_on(backend, on_tensorflow, files, tmp_path):
    run_tests(
        backend,
        HERE / "each",
        ON_TENSORFLOW=str(on_tensorflow),
        FILES=str(files),
        WRITTEN=str(tmp_path),
        XLA_FLAGS="--xla_force_host_platform_device_count=4",
    )
    states.check_files(tmp_path)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_keras_own_tests_on(backend):
    # These train other optimizers, by steps each of which JAX compiles anew.
    left_out = (
        "not gradient_accumulation_with_weigth_decay "
        "and not (SparseTest and not rmsprop)"
    )
    output = run_tests(backend, HERE.parent / "test_keras_own_suite.py", "-k", left_out)
    assert " passed" in output
