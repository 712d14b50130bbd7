"""How optimizers show themselves."""

import sys

import numpy as np

from keras_rmsprop import mistakes

_RATES = ("learning_rate", "lr")
# Where a message ends up that names an optimizer which they do not take.
_ASKED_BY = {
    "keras.src.optimizers": (
        "a model of Keras 3 takes `keras_rmsprop.RMSprop`, with update_rule='tf1' for "
        "the numbers of TF1"
    ),
    "tf_keras.src.optimizers": (
        "a model of tf_keras takes its own optimizers and "
        "`compat_v1.train.RMSPropOptimizer`; this one trains it in a loop of your own, "
        "by `apply_gradients`, or a model of Keras 3"
    ),
}


class Shown:
    """What shows an optimizer by the call that makes it.

    A subclass has `_shown_arguments`, a dictionary of its arguments by name.
    """

    def __repr__(self):
        cls = type(self)
        defaults = mistakes.parameters(cls, Shown)
        held = self._shown_arguments()
        shown = []
        for name in [
            *filter(held.__contains__, defaults),
            *sorted(held.keys() - defaults),
        ]:
            text = value_as_text(held[name])
            # Of what `**kwargs` takes, the defaults change nothing.
            usual = ["None", "0.0"]
            if name in defaults:
                usual = [value_as_text(defaults[name].default)]
            if name in _RATES or text not in usual:
                shown.append(f"{name}={text}")
        return f"{cls.__name__}({', '.join(shown)})"

    def __format__(self, spec):
        # Keras and tf_keras ask nothing of an optimizer before they refuse it, and name
        # it in the message. There is no other place to say what they would take.
        asked_by = sys._getframe(1).f_globals.get("__name__")
        advice = _ASKED_BY.get(asked_by)
        return f"{self!r}: {advice}" if advice else format(str(self), spec)


def value_as_text(value):
    """Returns a hyperparameter as text, whatever it is; devices are not waited for."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, (np.ndarray, np.generic)):
        return str(value)
    if callable(value):
        name = getattr(value, "__name__", type(value).__name__)
        return f"<{name.strip('<>')}>"
    if hasattr(value, "dtype"):
        return _number_as_text(value)
    return repr(value)


def _number_as_text(value):
    """Returns a variable or tensor as its number, where that can be known now."""
    tensorflow = sys.modules.get("tensorflow")
    # To read it in a graph would add to the graph.
    if tensorflow is None or tensorflow.executing_eagerly():
        try:
            array = value.numpy() if hasattr(value, "numpy") else np.asarray(value)
            return str(np.asarray(array)[()])
        except Exception:  # noqa: BLE001 (of a graph, traced, deleted, or elsewhere)
            pass
    return f"<{type(value).__name__}>"
