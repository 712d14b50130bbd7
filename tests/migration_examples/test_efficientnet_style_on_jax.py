"""The example goes on from a TF1 checkpoint on JAX and on PyTorch."""

import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

SCRIPT = (
    pathlib.Path(__file__)
    .parents[2]
    .joinpath("migration_examples", "efficientnet_style_on_jax.py")
)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_keras_goes_on_and_reads_digits(backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, SCRIPT, "--steps=60", "--epochs=4"],
        env={
            **os.environ,
            "KERAS_BACKEND": backend,
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"{backend} goes on at step 60" in done.stdout
    before, after = map(float, re.findall(r"0\.\d+", done.stdout))
    assert after > before + 0.2
