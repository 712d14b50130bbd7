"""Where built kernels lie, and whether they can be used.

A library of TensorFlow ops fits the one TensorFlow that it was built for. Its file is
named after that and after the source, so that what fits is found by name and nothing
else is ever loaded.
"""

import functools
import hashlib
import os
import pathlib
import platform
import stat
import sys
import threading
import warnings
from typing import Any, NamedTuple

import tensorflow as tf

SOURCE = pathlib.Path(__file__).with_name("kernels.cc")
# `"off"`, or the directory in which the kernels lie.
VARIABLE = "KERAS_RMSPROP_KERNELS"
# Neither may rounding change, nor may a root ask for `errno`, which keeps loops from
# being vectorized.
OPTIONS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")

_lock = threading.Lock()


class Found(NamedTuple):
    """What became of the search for kernels.

    Attributes:
        ops: The module of the ops, or None.
        reason: A sentence that says which file is in use, or why none is.
        unexpected: Whether kernels were asked for, and then not used.
    """

    ops: Any
    reason: str
    unexpected: bool = False


def directory():
    """Returns where kernels are looked for, a `pathlib.Path`."""
    chosen = os.environ.get(VARIABLE)
    if chosen and chosen != "off":
        return pathlib.Path(chosen).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return pathlib.Path(cache, "keras-rmsprop").expanduser()


def file_name():
    """Returns the name of the file that fits this TensorFlow and this source."""
    parts = (
        SOURCE.read_bytes(),
        *OPTIONS,
        tf.version.GIT_VERSION,
        tf.version.COMPILER_VERSION,
        tf.sysconfig.CXX11_ABI_FLAG,
        platform.machine(),
        sys.platform,
    )
    digest = hashlib.sha256("\n".join(map(repr, parts)).encode()).hexdigest()[:12]
    return f"{_PREFIX}{tf.version.VERSION}-{digest}.so"


_PREFIX = "kernels-tensorflow-"


def check_trusted(path):
    """Raises PermissionError where others could put a file of theirs in the place.

    Args:
        path: `pathlib.Path` of a directory, or of a file in one.
    """
    path = path.resolve()
    _check_owner(path)
    for place in (path, *path.parents):
        mode = place.stat().st_mode
        # In a directory like /tmp only its owner can rename a file.
        shared = mode & stat.S_IWOTH and not mode & stat.S_ISVTX
        if shared or (place in (path, path.parent) and mode & _OTHERS & ~stat.S_IWOTH):
            raise PermissionError(
                f"Others can write to {str(place)!r}, and what lies there would be run."
            )


_OTHERS = stat.S_IWGRP | stat.S_IWOTH


def _check_owner(path):
    if hasattr(os, "geteuid") and path.stat().st_uid not in (0, os.geteuid()):
        raise PermissionError(
            f"{str(path)!r} belongs to another user, and what lies there would be run."
        )


def ops():
    """Returns the module of the native ops, or None; warns once if it should be."""
    # What the first of several threads finds is what all use.
    with _lock:
        return _ops()


@functools.cache
def _ops():
    found = find()
    if found.unexpected:
        warnings.warn(
            f"Kernels of keras_rmsprop are left aside: {found.reason} Steps are taken "
            "without them.",
            stacklevel=2,
        )
    return found.ops


@functools.cache
def find():
    """Looks for kernels and loads them; returns a `Found`."""
    if os.environ.get(VARIABLE) == "off":
        return Found(None, f"{VARIABLE}=off leaves kernels aside.")
    place = directory()
    path = place / file_name()
    if not path.exists():
        others = sorted(place.glob(f"{_PREFIX}*.so")) if place.is_dir() else []
        if others:
            return Found(
                None,
                f"{str(place)!r} has kernels, but none for this version of the library "
                f"and TensorFlow {tf.version.VERSION}. "
                "`keras-rmsprop build-kernels` builds them.",
                unexpected=True,
            )
        return Found(
            None,
            f"There are no kernels in {str(place)!r}. "
            "`keras-rmsprop build-kernels` builds them.",
            unexpected=bool(os.environ.get(VARIABLE)),
        )
    try:
        check_trusted(path)
        return Found(tf.load_op_library(str(path)), f"{str(path)!r} is in use.")
    except (OSError, tf.errors.OpError, ImportError) as error:
        return Found(None, f"{str(path)!r} is not loaded. {error}", unexpected=True)
