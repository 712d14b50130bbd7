"""Runs the native kernels under the compiler's sanitizers.

    python tests/core/sanitize_kernels.py

builds them twice, with AddressSanitizer and UndefinedBehaviorSanitizer, and with
ThreadSanitizer, and takes steps of several threads on the same variables with each.
The exit code is 0 if neither finds anything.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

# TensorFlow and Python are not built with them: what they leak, and where they
# exchange data without it being seen, is not ours to find.
SANITIZERS = {
    "address,undefined": (
        ["libasan.so", "libubsan.so", "libstdc++.so"],
        {
            "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0:exitcode=66",
            "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1:exitcode=66",
        },
    ),
    "thread": (
        ["libtsan.so"],
        {"TSAN_OPTIONS": "exitcode=66:ignore_noninstrumented_modules=1"},
    ),
}


def main():
    """Builds and runs both; returns the exit code."""
    from keras_rmsprop.core.native import building

    failed = []
    for sanitizer, (libraries, options) in SANITIZERS.items():
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "kernels.so")
            building.compile_kernels(
                path,
                [
                    f"-fsanitize={sanitizer}",
                    # TensorFlow hides its types, and with the others its headers do
                    # not compile.
                    "-fno-sanitize=vptr,null,nonnull-attribute,"
                    "returns-nonnull-attribute",
                    "-fdelete-null-pointer-checks",
                    "-fno-omit-frame-pointer",
                    "-g",
                    "-O1",
                    "-DWITHOUT_CLONES",
                ],
            )
            environment = {
                **os.environ,
                **options,
                "LD_PRELOAD": " ".join(map(_library, libraries)),
                "PYTHONPATH": str(ROOT),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                "CUDA_VISIBLE_DEVICES": "-1",
                "KERAS_RMSPROP_KERNELS": "off",
            }
            done = subprocess.run(
                [sys.executable, __file__, "run", path], env=environment
            )
            said = "nothing" if done.returncode == 0 else f"exit {done.returncode}"
            print(f"{sanitizer}: {said}", flush=True)
            failed += [sanitizer] * (done.returncode != 0)
    return len(failed)


def _library(name):
    command = ["g++", f"-print-file-name={name}"]
    return subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.strip()


def run(path):
    """Takes steps with the kernels in a file."""
    import threading

    import tensorflow as tf

    from keras_rmsprop.core.native import self_test

    ops = tf.load_op_library(path)
    self_test.run(ops)
    shapes = [(300, 70), (1,), (0, 3), (5, 5, 5), (4000, 9)]
    held = [[tf.Variable(tf.ones(shape)) for shape in shapes] for _ in ("value", "rms")]
    gradients = [tf.ones(shape) for shape in shapes]
    scalars = {
        "learning_rate": 0.1,
        "rho": 0.9,
        "one_minus_rho": [],
        "momentum_discount": 0.0,
        "epsilon": 1e-7,
        "mg": [],
        "momentum": [],
        "form": "keras",
    }

    def steps(backwards):
        order = slice(None, None, -1 if backwards else 1)
        for _ in range(20):
            ops.keras_rmsprop_dense(
                variables=[v.handle for v in held[0]][order],
                rms=[v.handle for v in held[1]][order],
                gradients=gradients[order],
                **scalars,
            )
            for variable, rms, gradient in zip(*held, gradients):
                rows = variable.shape[0]
                if rows > 1:
                    ops.keras_rmsprop_sparse(
                        variable=[variable.handle],
                        rms=[rms.handle],
                        gradient=tf.concat([gradient, gradient], 0),
                        indices=tf.range(2 * rows) % rows,
                        **scalars,
                    )
                variable.read_value()

    threads = [threading.Thread(target=steps, args=(i % 2 == 0,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    if sys.argv[1:2] == ["run"]:
        run(sys.argv[2])
    else:
        sys.exit(main())
