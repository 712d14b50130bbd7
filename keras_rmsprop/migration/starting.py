"""TensorFlow loaded without what it says about its build and about missing GPUs."""

import contextlib
import os
import re
import sys
import tempfile

from keras_rmsprop.migration.waiting import waiting

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
# TensorFlow logs these before it knows of a level, or as errors where there is no GPU.
_NOISE = re.compile(
    "All log messages before absl::InitializeLog"
    "|oneDNN custom operations are on"
    "|optimized to use available CPU instructions"
    "|To enable the following instructions"
    "|Could not find cuda drivers"
    "|failed call to cuInit"
    "|Unable to register cu[A-Z]+ factory"
    "|computation placer already registered"
)


def load_tensorflow():
    """Imports TensorFlow, and has it look for devices, without its start-up lines.

    Its warnings of its own deprecated functions are left out, too. Other lines are
    shown, and an exception is raised as ever. Where the environment
    variable `TF_CPP_MIN_LOG_LEVEL` is set it stays as it is, and 0 shows all lines;
    else it is set to 2, which leaves errors. Does nothing where TensorFlow is loaded.

    Example:

    >>> load_tensorflow()
    >>> import tensorflow as tf
    """
    if "tensorflow" in sys.modules or os.environ.setdefault(_LEVEL, "2") == "0":
        return
    with waiting("Loading TensorFlow"), _without_noise():
        import tensorflow as tf

        tf.config.list_physical_devices()
        # Calls of its own deprecated functions.
        tf.get_logger().setLevel("ERROR")


@contextlib.contextmanager
def _without_noise():
    """Holds standard error back, that of C++ too, and then shows what is no noise."""
    if sys.stderr is None:  # Closed, as that of a daemon.
        yield
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            caught.seek(0)
            for line in caught.read().decode(errors="replace").splitlines(True):
                if not _NOISE.search(line):
                    sys.stderr.write(line)
