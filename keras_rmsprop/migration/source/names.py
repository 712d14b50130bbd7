"""How each generation's RMSProp is spelled, as data.

A class is known by the qualified name that its imports give it, never by the
last part alone: `torch.optim.RMSprop` is nobody's business here.
"""

import itertools

TF1 = "tf1"
LEGACY = "legacy"
OPTIMIZER_V1 = "optimizer_v1"
# The class of Keras 2.11 to 2.15, and that of Keras 3.
KERAS2 = "keras2"
KERAS = "keras"
# Spelled the same in several generations; the arguments or an assumption decide.
AMBIGUOUS = "ambiguous"
# A new Keras class for certain, but Keras 2's or Keras 3's.
NEW_KERAS = "new keras"
# An old Keras class for certain, but OptimizerV2's or the one before it.
OLD_KERAS = "old keras"
# Keras 2 as the package tf_keras, whose models take no Keras 3 optimizer.
TF_KERAS = "tf_keras"

_TENSORFLOW = ("tensorflow", "tensorflow.compat.v1", "tensorflow.compat.v2")
_KERAS_ROOTS = ("keras", *(f"{root}.keras" for root in _TENSORFLOW))
_OPTIMIZERS = (
    *(f"{root}.optimizers" for root in _KERAS_ROOTS),
    "tensorflow.optimizers",
    "tensorflow.compat.v2.optimizers",
)

_MODULES = {
    TF1: (
        "tensorflow.train",
        "tensorflow.compat.v1.train",
        "tensorflow.python.training.rmsprop",
        "tensorflow.python.training.training",
    ),
    LEGACY: (
        *(f"{module}.legacy" for module in _OPTIMIZERS),
        "keras.optimizer_v2.rmsprop",
        "keras.optimizers.optimizer_v2.rmsprop",
        "keras.optimizers.legacy.rmsprop",
        "keras.optimizers.rmsprop_v2",
        "tensorflow.python.keras.optimizer_v2.rmsprop",
        "tensorflow.python.keras.optimizers.rmsprop_v2",
        "tensorflow.keras.optimizers.rmsprop_v2",
    ),
    OPTIMIZER_V1: (
        "tensorflow.contrib.keras.optimizers",
        "tensorflow.contrib.keras.api.keras.optimizers",
        "tensorflow.contrib.keras.python.keras.optimizers",
        "tensorflow.python.keras._impl.keras.optimizers",
    ),
    KERAS2: (
        *(f"{module}.experimental" for module in _OPTIMIZERS),
        "keras.optimizers.optimizer_experimental.rmsprop",
    ),
    NEW_KERAS: ("keras.optimizers.rmsprop",),
    AMBIGUOUS: (*_OPTIMIZERS, "tensorflow.python.keras.optimizers"),
    TF_KERAS: (
        "tf_keras.optimizers",
        "tf_keras.optimizers.legacy",
        "tf_keras.optimizers.legacy.rmsprop",
        "tf_keras.optimizers.rmsprop",
        "tf_keras.optimizers.experimental",
    ),
}
# Where the same modules stand by another name: what a name begins with, what it
# means, and where only new versions have it, what its ambiguous class is there.
_PLACES = (
    ("tensorflow.compat.v1.compat.", "tensorflow.compat.", AMBIGUOUS),
    ("tensorflow.compat.v2.compat.", "tensorflow.compat.", AMBIGUOUS),
    ("tensorflow_core.", "tensorflow.", AMBIGUOUS),
    ("tensorflow._api.v1.", "tensorflow.", AMBIGUOUS),
    ("tensorflow._api.v2.", "tensorflow.", AMBIGUOUS),
    ("keras.api._v1.keras.", "tensorflow.compat.v1.keras.", AMBIGUOUS),
    ("keras.api._v2.keras.", "tensorflow.compat.v2.keras.", AMBIGUOUS),
    ("keras.api.", "keras.", NEW_KERAS),
    ("keras._tf_keras.keras.", "keras.", KERAS),
    ("keras.src.", "keras.", NEW_KERAS),
    ("tf_keras.src.", "tf_keras.", TF_KERAS),
    ("tf_keras.api._v1.keras.", "tf_keras.", TF_KERAS),
    ("tf_keras.api._v2.keras.", "tf_keras.", TF_KERAS),
)

_CLASSES = {
    f"{module}.{'RMSPropOptimizer' if era == TF1 else 'RMSprop'}": era
    for era, modules in _MODULES.items()
    for module in modules
}
# Keras up to 2.3 also exported the class in lower case.
_CLASSES.update((f"{module}.rmsprop", OLD_KERAS) for module in _OPTIMIZERS)

OPTIMIZER_MODULES = frozenset(itertools.chain.from_iterable(_MODULES.values()))
CLASS_NAMES = frozenset({"RMSPropOptimizer", "RMSprop", "rmsprop"})

# Modules in which somebody may look for one of the classes: the optimizer modules
# and all that lies above them.
_NAMESPACES = frozenset(
    ".".join(parts[:count])
    for parts in (
        module.split(".")
        for module in (*OPTIMIZER_MODULES, *(f"{place[0]}x" for place in _PLACES))
    )
    for count in range(1, len(parts) + 1)
)
ROOTS = frozenset({"tensorflow", "tensorflow_core", "keras", "tf_keras"})


def era_of(qualified_name):
    """Returns the generation that a qualified name spells, or None.

    Args:
      qualified_name: a dotted name with imports and aliases resolved.

    Returns:
      One of this module's generation constants; None for anything else.

    Example:

    >>> era_of("tensorflow.compat.v1.train.RMSPropOptimizer")
    'tf1'
    >>> era_of("keras.src.optimizers.RMSprop")
    'new keras'
    >>> era_of("torch.optim.RMSprop") is None
    True
    """
    name, ambiguous = _canonical(qualified_name)
    era = _CLASSES.get(name)
    return ambiguous if era == AMBIGUOUS else era


def is_namespace(qualified_name):
    """Whether a qualified name is of a module that holds one of the classes, or above.

    Example:

    >>> is_namespace("tensorflow.keras"), is_namespace("keras.layers")
    (True, False)
    """
    name, _ = _canonical(qualified_name)
    return name in _NAMESPACES or qualified_name in _NAMESPACES


def is_foreign(qualified_name):
    """Whether TensorFlow or Keras has the named thing, called as RMSProp is.

    Example:

    >>> is_foreign("tensorflow.contrib.optimizer_v2.RMSPropOptimizer")
    True
    """
    first, _, rest = qualified_name.partition(".")
    return first in ROOTS and rest.split(".")[-1] in CLASS_NAMES


def is_of_contrib(qualified_name):
    """Whether it is the class of `tf.contrib.optimizer_v2`, TensorFlow 1.7 to 1.15."""
    name, _ = _canonical(qualified_name)
    return name.startswith("tensorflow.contrib.optimizer_v2.")


def _canonical(name):
    """The name that means the same in the public API, and its ambiguous era."""
    for prefix, meaning, ambiguous in _PLACES:
        if name.startswith(prefix):
            return meaning + name.removeprefix(prefix), ambiguous
    return name, AMBIGUOUS
