"""Where the files of a TensorFlow checkpoint are.

Since TensorFlow 0.12 a checkpoint is `PREFIX.index` and `PREFIX.data-00000-of-00001`,
...; before, and with `SaverDef.V1` since, it is one file `PREFIX`, or sharded
`PREFIX-00000-of-00002`, ...
"""

import glob
import os
import re

import tensorflow as tf

_ENDING = re.compile(r"(\.index|\.meta|(\.data)?-[0-9]{5}-of-[0-9]{5})$")
_V1_SHARD = re.compile("(.*)-[0-9]{5}-of-([0-9]{5})")
# The last eight bytes of TensorFlow's tables of names.
_MAGIC = bytes.fromhex("57fb808b247547db")


def find(path):
    """Returns the prefix of the checkpoint that a path means, or None.

    Args:
        path: A prefix, one of a checkpoint's files, or a directory.

    Raises:
        ValueError: If a directory holds several and does not tell which is meant.
    """
    if os.path.isdir(path):
        return _in_directory(path)
    # `m.ckpt-00000-of-00001` may be a prefix itself.
    if _exists(path):
        return path
    ending = _ENDING.search(path)
    if ending is None or not os.path.isfile(path):
        return None
    prefix = path[: ending.start()]
    if not _exists(prefix):
        raise ValueError(
            f"{path!r} is part of a checkpoint whose {prefix + '.index'!r} is missing."
        )
    return prefix


def loadable(prefix):
    """Returns what TensorFlow's reader takes for a prefix."""
    if os.path.exists(f"{prefix}.index") or os.path.exists(prefix):
        return prefix
    shards = _v1_shards(prefix)
    return f"{prefix}-?????-of-{shards[0][-5:]}" if shards else prefix


def size(prefix):
    """Returns the number of bytes of all files that hold a checkpoint's values."""
    files = glob.glob(f"{glob.escape(prefix)}.data-?????-of-?????")
    if not os.path.exists(f"{prefix}.index"):
        files = [prefix] if os.path.exists(prefix) else _v1_shards(prefix)
    return sum(map(os.path.getsize, files))


def _exists(prefix):
    return os.path.exists(f"{prefix}.index") or _is_v1(prefix) or _v1_shards(prefix)


def _v1_shards(prefix):
    return sorted(
        file
        for file in glob.glob(f"{glob.escape(prefix)}-?????-of-?????")
        if _V1_SHARD.fullmatch(file) and _is_v1(file)
    )


def _is_v1(path):
    """Whether a path is a file of a V1 checkpoint, by its last bytes."""
    if not os.path.isfile(path) or path.endswith(".index"):
        return False
    with open(path, "rb") as file:
        if file.seek(0, os.SEEK_END) < len(_MAGIC):
            return False
        file.seek(-len(_MAGIC), os.SEEK_END)
        return file.read() == _MAGIC


def _in_directory(directory):
    try:
        latest = tf.train.get_checkpoint_state(directory)
    except ValueError:
        # Empty or no text; of other damage TensorFlow itself makes None.
        latest = None
    if latest is None:
        return _without_state(directory)
    named = latest.model_checkpoint_path.removesuffix(".index")
    if shard := re.fullmatch(r"(.*)-\?{5}-of-[0-9]{5}", named):
        named = shard[1]
    # The path may be absolute and that of the directory which this one is a copy of.
    choices = [os.path.join(directory, os.path.basename(named)), named]
    inside = os.path.abspath(directory) + os.sep
    if os.path.abspath(named).startswith(inside):
        choices.reverse()
    for prefix in choices:
        if _exists(prefix):
            return prefix
    found = _prefixes(directory)
    if found:
        raise ValueError(
            f"The latest checkpoint of the directory {directory!r} is {named!r} by its "
            "file 'checkpoint', and is not there. Give the path of the one to read: "
            f"{_listed(found)}."
        )
    return None


def _without_state(directory):
    """Returns the checkpoint of a directory whose file `checkpoint` is gone."""
    # A SavedModel, the default of `model.save` from TensorFlow 2.0 to 2.12.
    saved_model = os.path.join(directory, "variables", "variables")
    if _exists(saved_model):
        return saved_model
    found = _prefixes(directory)
    numbered = [re.fullmatch("(.*)-([0-9]+)", prefix) for prefix in found]
    if len(found) > 1 and all(numbered) and len({match[1] for match in numbered}) == 1:
        # One run's: the one after the most steps.
        return max(numbered, key=lambda match: int(match[2]))[0]
    if len(found) > 1:
        raise ValueError(
            f"The directory {directory!r} holds {len(found)} checkpoints and no file "
            "'checkpoint' that says which is the latest. Give the path of one: "
            f"{_listed(found)}."
        )
    return found[0] if found else None


def _prefixes(directory):
    """Returns the prefixes of all checkpoints in a directory."""
    found = set()
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if name.endswith(".index"):
            found.add(path.removesuffix(".index"))
        elif _is_v1(path):
            shard = _V1_SHARD.fullmatch(path)
            found.add(shard[1] if shard else path)
    return sorted(found)


def _listed(paths):
    more = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
    return ", ".join(map(repr, paths[:8])) + more
