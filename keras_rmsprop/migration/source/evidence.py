"""Which generation of Keras code was written for, by what stands around a call.

The answers are keys of `options.ASSUMPTIONS`, each with its reason.
"""

import functools
import os
import re

import libcst as cst

from keras_rmsprop.migration.source import tree

# Names that only one time had, from the surest on.
_NAMES = {
    "nb_epoch": "tf1.4",
    "nb_val_samples": "tf1.4",
    "samples_per_epoch": "tf1.4",
    "border_mode": "tf1.4",
    "nb_filter": "tf1.4",
    "TimeDistributedDense": "tf1.4",
    "predict_classes": "tf2.10",
    "predict_proba": "tf2.10",
    "fit_generator": "tf2.10",
    "Convolution1D": "tf2.10",
    "Convolution2D": "tf2.10",
}
_QUALIFIED = {
    "keras.ops": "keras3",
    "keras.random.SeedGenerator": "keras3",
    "tensorflow.placeholder": "tf2.10",
    "tensorflow.Session": "tf2.10",
    "tensorflow.ConfigProto": "tf2.10",
    "tensorflow.global_variables_initializer": "tf2.10",
}
_OLD_MODULES = re.compile(
    r"keras\.(layers\.(core|convolutional|normalization|recurrent|embeddings|merge"
    r"|pooling|wrappers|noise|advanced_activations)|engine|utils\.np_utils"
    r"|utils\.generic_utils|backend\.tensorflow_backend)\b|tensorflow\.contrib\b"
)
# What may be assumed of code that Keras 2.13, which moved all to `keras.src`, ended.
_BEFORE_SRC = ("tf1.4", "tf2.10")
_BACKENDS = {"theano": "tf2.10", "cntk": "tf2.10", "jax": "keras3", "torch": "keras3"}

# The versions from which on a generation is what a package has.
_SINCE = {
    "tensorflow": {
        "tf1.4": (1,),
        "tf2.10": (1, 13),
        "keras2": (2, 11),
        "keras3": (2, 16),
    },
    "keras": {"tf1.4": (1,), "tf2.10": (2, 1), "keras2": (2, 11), "keras3": (3,)},
}
_PINNED_IN = re.compile(
    r"requirements[\w.-]*\.(txt|in)|setup\.(py|cfg)|pyproject\.toml|Pipfile"
    r"|environment[\w.-]*\.ya?ml"
)
_PIN = re.compile(
    r"(?<![\w./-])(?P<name>tensorflow(?=[-_]gpu|[-_]cpu|\b)|keras\b)(?:[-_][gc]pu)?"
    r"(?:\[[\w, -]*\])?[\"']?\s*(?:=\s*(?=[\"']))?[\"']?\s*"
    r"(?P<versions>(?:[<>=~^!]=?=?\s*\d[\w.*]*\s*,?\s*)+)",
    re.IGNORECASE,
)
_VERSION = re.compile(r"([<>=~^!]+)\s*(\d+(?:\.\d+)*)")


@functools.lru_cache(maxsize=1)
def in_file(file):
    """Returns an assumption that a file's own code supports, with why, or None.

    Args:
      file: the `SourceFile`.

    Returns:
      A pair, such as `("tf1.4", "`nb_epoch` in line 3")`, or None.
    """
    found = {}
    for node in file.nodes:
        for name, assumption in _of_node(node, file):
            if assumption not in found:
                found[assumption] = f"`{name}` in {file.place(node)}"
    for assumption in ("keras3", "tf1.4", "tf2.10"):
        if assumption in found:
            return assumption, found[assumption]
    if file.options.assume in _BEFORE_SRC:
        for node in file.imports:
            if any(name.startswith("keras.src") for name in _imported(node)):
                return "keras3", f"`keras.src` in {file.place(node)}"
    return None


def _of_node(node, file):
    """The names of a node that are evidence, each with what for."""
    match node:
        case cst.Name(value=name) if name in _NAMES:
            yield name, _NAMES[name]
        case cst.Import() | cst.ImportFrom():
            yield from _of_modules(_imported(node))
        case cst.Attribute(attr=cst.Name(value=name)) if name in _LAST_NAMES:
            for qualified in file.qualified(node):
                if qualified in _QUALIFIED:
                    yield file.code(node), _QUALIFIED[qualified]
        case cst.SimpleString() if tree.is_string(node, "KERAS_BACKEND"):
            text = file.code(file.statement(node))
            for backend, assumption in _BACKENDS.items():
                if re.search(rf"[\"']{backend}[\"']", text):
                    yield f'KERAS_BACKEND="{backend}"', assumption


def _imported(node):
    """The dotted names that a statement imports, of its file's package none."""
    if isinstance(node, cst.Import):
        return [each.evaluated_name for each in node.names]
    if node.relative:
        return []
    module = tree.dotted(node.module)
    if isinstance(node.names, cst.ImportStar):
        return [module]
    return [f"{module}.{each.evaluated_name}" for each in node.names]


_LAST_NAMES = frozenset(name.rpartition(".")[2] for name in _QUALIFIED)
# What evidence may begin with, an attribute with a dot before it.
IDENTIFIERS = frozenset(
    f"{dot}{name}" for name in (*_NAMES, *_LAST_NAMES) for dot in ("", ".")
)


def _of_modules(imported):
    for name in imported:
        public = name.replace("keras.src.", "keras.", 1)
        if public in _QUALIFIED:
            yield name, _QUALIFIED[public]
        elif _OLD_MODULES.search(name):
            yield name, "tf2.10"


def nearby(path, top):
    """Returns an assumption that pinned versions near a file support, or None.

    Args:
      path: the file.
      top: the directory above which nothing is looked at.

    Returns:
      A pair, such as `("keras2", "tensorflow==2.13 in requirements.txt")`.
    """
    directory, top = os.path.dirname(os.path.abspath(path)), os.path.abspath(top)
    while True:
        found = _in_directory(directory)
        if found or directory == top or len(directory) <= len(top):
            return found
        directory = os.path.dirname(directory)


@functools.lru_cache(maxsize=4096)
def _in_directory(directory):
    found = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        if _PINNED_IN.fullmatch(name) and os.path.isfile(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                for assumption, pin in of_pins(file.read()):
                    found.setdefault(assumption, f"{pin} in {name}")
    # Two that disagree say nothing.
    return next(iter(found.items())) if len(found) == 1 else None


def of_pins(text):
    """Returns the generations to which a text pins TensorFlow or Keras.

    Args:
      text: of a requirements file, of `setup.py` or the like.

    Returns:
      A list of pairs of an assumption and the requirement.

    Example:

    >>> of_pins("numpy\\ntensorflow-gpu>=2.1,<2.4\\nkeras>=2.0\\n")
    [('tf2.10', 'tensorflow>=2.1,<2.4')]
    """
    found = []
    for pin in _PIN.finditer(text):
        name, versions = pin["name"].lower(), "".join(pin["versions"].split())
        assumption = _generation(_SINCE[name], versions)
        if assumption:
            found.append((assumption, f"{name}{versions.rstrip(',')}"))
    return found


def _generation(since, versions):
    """The only generation that a requirement allows, or None."""
    low, high = (0,), (1000,)  # From the first on, up to and without the second.
    for operator, text in _VERSION.findall(versions):
        version = tuple(map(int, text.split(".")))
        if operator in ("=", "==", "==="):
            low, high = max(low, version), min(high, (*version, 0, 0, 1))
        elif operator in (">", ">="):
            low = max(low, version)
        elif operator == "<":
            high = min(high, version)
        elif operator == "<=":
            high = min(high, (*version, 0, 0, 1))
        elif operator in ("~=", "^"):
            kept = version[:1] if operator == "^" else version[:-1] or version
            low, high = max(low, version), min(high, (*kept[:-1], kept[-1] + 1))
    ends = [*list(since.values())[1:], (1000,)]
    for (assumption, begin), end in zip(since.items(), ends, strict=True):
        if begin <= low and high <= end:
            return assumption
    return None
