"""Links from names of TensorFlow and Keras to their own pages.

Neither publishes an inventory that Sphinx could read. TensorFlow's pages are named by
the names; of Keras' those that the docstrings mention are listed.
"""

import operator
from inspect import isclass, isfunction, ismodule

import tensorflow
from docutils import nodes

_TENSORFLOW = "https://www.tensorflow.org/api_docs/python/"
_OLD_KERAS = "https://www.tensorflow.org/versions/r2.15/api_docs/python/"
_KERAS = {
    "keras.optimizers.Optimizer": "optimizers/",
    "keras.optimizers.RMSprop": "optimizers/rmsprop/#rmsprop-class",
    "keras.optimizers.LossScaleOptimizer": "optimizers/loss_scale_optimizer/",
    "keras.optimizers.schedules.LearningRateSchedule": (
        "optimizers/learning_rate_schedules/learning_rate_schedule/"
    ),
    "keras.optimizers.schedules.InverseTimeDecay": (
        "optimizers/learning_rate_schedules/inverse_time_decay/"
    ),
    "keras.config.epsilon": "utils/config_utils/#epsilon-function",
    "keras.config.floatx": "utils/config_utils/#floatx-function",
    "keras.Model": "models/model/#model-class",
}
# Not among the pages of today's TensorFlow, whose Keras is Keras 3.
_GONE = "tf.keras.optimizers.legacy."


def address(name):
    """Returns the address of the page that documents a name, or None."""
    name = name.rstrip("()")
    if name in _KERAS:
        return "https://keras.io/api/" + _KERAS[name]
    if name.startswith(_GONE):
        return _OLD_KERAS + name.replace(".", "/")
    if name.startswith("tf.") and not name.startswith("tf.keras") and _has_page(name):
        return _TENSORFLOW + name.replace(".", "/")
    return None


def _has_page(name):
    """Whether a name is a module, class or function of the TensorFlow that is here."""
    try:
        found = operator.attrgetter(name.removeprefix("tf."))(tensorflow)
    except AttributeError:
        return False
    return any(is_one(found) for is_one in (ismodule, isclass, isfunction))


def _resolve(app, env, node, shown):
    found = address(node["reftarget"]) if node["refdomain"] == "py" else None
    if found is None:
        return None
    return nodes.reference("", "", shown, internal=False, refuri=found)


def setup(app):
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True}
