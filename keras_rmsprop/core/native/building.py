"""Compiling the kernels for the TensorFlow that is installed, and testing them."""

import os
import shutil
import subprocess
import sys

import tensorflow as tf

from keras_rmsprop.core.native import library


class BuildError(Exception):
    """Why kernels could not be built, in words of the compiler or the test."""


def compiler():
    """Returns the command of the C++ compiler, a list.

    Raises:
        BuildError: If there is none.
    """
    chosen = os.environ.get("CXX")
    for command in [chosen.split()] if chosen else [["g++"], ["clang++"], ["c++"]]:
        if command and shutil.which(command[0]):
            return command
    raise BuildError(
        f"There is no C++ compiler {chosen!r}, which CXX names."
        if chosen
        else "There is no C++ compiler: neither g++ nor clang++ is found. Debian and "
        "Ubuntu have one in the package g++; CXX names another one."
    )


def compile_kernels(path, options=()):
    """Compiles the kernels.

    Args:
        path: Path of the file to write.
        options: More options for the compiler.

    Raises:
        BuildError: If that fails.
    """
    command = [
        *compiler(),
        str(library.SOURCE),
        "-o",
        str(path),
        "-shared",
        "-fPIC",
        # TensorFlow's headers warn a lot.
        "-w",
        *library.OPTIONS,
        *options,
        *tf.sysconfig.get_compile_flags(),
        *tf.sysconfig.get_link_flags(),
    ]
    if sys.platform == "darwin":
        command += ["-undefined", "dynamic_lookup"]
    _run(command, "The compiler failed")


def test_kernels(path):
    """Holds kernels against TensorFlow's, in a process of its own.

    Args:
        path: Path of the compiled file.

    Raises:
        BuildError: If they differ, or cannot be loaded.
    """
    environment = {
        **os.environ,
        library.VARIABLE: "off",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
    }
    command = [sys.executable, "-m", "keras_rmsprop.core.native.self_test", str(path)]
    _run(command, "The kernels fail their test and are not installed", environment)


def _run(command, failure, environment=None):
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        said = (done.stderr + done.stdout).strip()
        raise BuildError(
            f"{failure} (exit status {done.returncode}):\n"
            f"$ {' '.join(command)}\n{said[-_MOST_TO_SHOW:]}"
        )


_MOST_TO_SHOW = 4000
