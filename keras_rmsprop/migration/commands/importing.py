"""What options name that only Python can make: a model, or data."""

import importlib
import os
import sys
import traceback
import zipfile

import numpy as np


def called(option, text):
    """Returns what a function gives that is named as MODULE:FUNCTION.

    Args:
        option: The option, for messages.
        text: What was given for it.

    Raises:
        ValueError: If there is no such function, or it fails.
    """
    module, _, name = text.partition(":")
    if not module or not name.isidentifier():
        raise ValueError(
            f"{option} must be MODULE:FUNCTION, such as train:build. Received: {text!r}"
        )
    if module.endswith(".py") or os.sep in module:
        raise ValueError(
            f"{option} must name a module as `import` does, not its file. "
            f"Received: {text!r}"
        )
    # As with `python -m`.
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = importlib.import_module(module)
    except Exception as error:
        raise ValueError(f"{option}: importing {module!r}: {_told(error)}") from error
    function = getattr(found, name, None)
    if not callable(function):
        raise ValueError(
            f"{option} must name a function in {module!r} ({found.__file__}). "
            f"Received: {name!r}, which is {'none' if function is None else 'no one'}"
        )
    try:
        return function()
    except Exception as error:
        raise ValueError(f"{option}: calling {text!r}: {_told(error)}") from error


def _told(error):
    """Returns an exception of the user's code as text, with its place."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}:{frame.lineno})"


def data(text):
    """Returns what --data stands for.

    Args:
        text: MODULE:FUNCTION, or the path of an .npz file with the arrays x and y.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is none of these.
    """
    if not text.endswith(".npz"):
        return called("--data", text)
    with open(text, "rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(f"--data must be an .npz file. Received: {text!r}")
        file.seek(0)
        arrays = np.load(file, allow_pickle=False)
        if not {"x", "y"} <= set(arrays):
            raise ValueError(
                "--data must be a file with the arrays x and y. Received: "
                f"{text!r} with {', '.join(arrays) or 'none'}"
            )
        return arrays["x"], arrays["y"]
