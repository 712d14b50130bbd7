"""Live optimizers behind one small interface, to be read and to be filled."""

import contextlib
import re
import sys
import types

import keras
import numpy as np
import tensorflow as tf

from keras_rmsprop import mistakes
from keras_rmsprop.sharding import native_of
from keras_rmsprop.update_rule import KERAS, KERAS2, LEGACY, TF1

tf1 = tf.compat.v1


def adapter(optimizer, session=None):
    """Returns the adapter of an optimizer.

    Args:
        optimizer: An RMSProp optimizer, ours or shipped.
        session: Session that holds its variables; None if they are eager.

    Raises:
        TypeError: If it is none of these.
    """
    # `keras_rmsprop.legacy.RMSprop` is a `keras.optimizers.Optimizer` too, but not a
    # `keras.optimizers.RMSprop`.
    for adapter_type in (KerasAdapter, Keras2Adapter, LegacyAdapter, TF1Adapter):
        if isinstance(optimizer, adapter_type.classes()):
            return adapter_type(optimizer, session)
    raise TypeError(
        "`optimizer` must be an RMSProp optimizer of keras_rmsprop, compat_v1, Keras "
        f"3, tf_keras or tf.compat.v1.train. Received: {_received(optimizer)}"
    )


def _received(optimizer):
    cls = optimizer if isinstance(optimizer, type) else type(optimizer)
    name = f"{cls.__module__}.{cls.__qualname__}"
    if cls is optimizer:
        return f"the class {name}. Make an optimizer of it"
    if mistakes.is_model(optimizer):
        return f"{name}, a model. The optimizer comes first, and then the model"
    return name


def is_optimizer(source):
    """Whether this is an optimizer at all, of whatever kind."""
    if isinstance(source, type):
        return False
    return hasattr(source, "apply_gradients") or hasattr(source, "get_slot")


def name_of(variable):
    """Returns the name that states know a variable by.

    Example:

    >>> name_of(tf.Variable(1.0, name="scope/w"))
    'scope/w'
    """
    if isinstance(variable, keras.Variable):
        return variable.path
    return variable.name.partition(":")[0]


def dtype_of(variable):
    """Returns the `numpy.dtype` of a variable."""
    if isinstance(variable, keras.Variable):  # Of whichever backend.
        return np.dtype(keras.backend.standardize_dtype(variable.dtype))
    return np.dtype(variable.dtype.base_dtype.as_numpy_dtype)


def graph_of(variable):
    """Returns the TF1 graph that a variable lives in; None if it is eager."""
    return getattr(native_of(variable), "graph", None)


def plain(hyperparameters):
    """Returns those hyperparameters that JSON can hold, as Python values.

    Example:

    >>> plain({"decay": np.float64(0.5), "learning_rate": lambda: 0.1})
    {'decay': 0.5}
    """
    kept = {}
    for name, value in hyperparameters.items():
        if isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0:
            value = value.item()
        if value is None or isinstance(value, (bool, int, float, str, dict)):
            kept[name] = value
    return kept


class _Adapter:
    """What reading and filling an optimizer of one API takes.

    Attributes:
        kind: `OptimizerState.kind`.
        optimizer: The optimizer.
        session: Its session, or None.
    """

    def __init__(self, optimizer, session):
        self.optimizer = optimizer
        self.session = session

    @property
    def update_rule(self):
        """Name of the optimizer's `UpdateRule`."""
        return self.rule.name

    def rows(self, variables=None):
        """Returns `(name, variable, slots)` for each variable.

        Args:
            variables: Their list. Defaults to those that the optimizer knows; a
                `variable` of None means that it only knows the slots.
        """
        if variables is None:
            variables = self.known_variables()
        if variables is None:
            return [(name, None, slots) for name, slots in self._anonymous_rows()]
        return [(name_of(v), v, self.slots(v)) for v in variables]

    def _anonymous_rows(self):
        raise NotImplementedError

    def config(self):
        """Returns the constructor's arguments, without what cannot be written down."""
        return self.optimizer.get_config()

    def arguments(self):
        """Returns the constructor's arguments, a callable learning rate as given."""
        # The configuration has a schedule as a dictionary, and of another callable
        # only what it returned.
        arguments, rate = self.config(), self.rate()
        return {**arguments, "learning_rate": rate} if callable(rate) else arguments

    def hyperparameters(self):
        """Returns the arguments that JSON can hold."""
        return plain(self.config())

    def momentum(self):
        """The momentum hyperparameter, or None if its value is not known."""
        value = self.hyperparameters().get("momentum")
        return value if isinstance(value, (int, float)) else None

    def loss_scale(self):
        """Returns `OptimizerState.loss_scale`: nothing scales the loss here."""
        return {}

    def loss_scale_problems(self, loss_scale):
        """Returns what is wrong with the loss scale of a state, in words."""
        return []

    def loss_scale_pairs(self, loss_scale):
        """Returns what `write` takes to set the loss scale, as pairs."""
        return []

    def read(self, variables):
        """Returns the values of variables as a list of arrays."""
        if self.session is not None:
            natives = [native_of(variable) for variable in variables]
            return [np.asarray(value) for value in self.session.run(natives)]
        try:
            # Keras' method knows every backend, and devices that NumPy does not.
            return [np.array(variable.numpy()) for variable in variables]
        except (NotImplementedError, AttributeError) as error:
            raise ValueError(
                "`session` must be given for an optimizer whose variables live in a "
                "TF1 graph. Received: session=None"
            ) from error

    def write(self, pairs):
        """Sets variables to arrays, given as `(variable, array)` pairs."""
        for variable, value in pairs:
            if self.session is None:
                variable.assign(value)
            else:
                # Adds no operation, so that the graph may be finalized.
                initializer = native_of(variable).initializer
                self.session.run(initializer, {initializer.inputs[1]: value})


class KerasAdapter(_Adapter):
    """`keras_rmsprop.RMSprop` and `keras.optimizers.RMSprop`."""

    kind = "keras"
    # Attributes by slot. Keras keeps its slots in lists beside the list of the
    # variables they belong to, both private but unchanged since Keras 3.0;
    # `variables` alone cannot tell a centered optimizer's from those of one with
    # momentum.
    lists = types.MappingProxyType(
        {
            "rms": "_velocities",
            "mg": "_average_gradients",
            "momentum": "_momentums",
            "average": "_model_variables_moving_average",
            "gradient_accumulator": "_accumulated_gradients",
        }
    )
    # Of the variables that the optimizer was built on, by their ids.
    _indices = types.MappingProxyType({})

    @staticmethod
    def classes():
        from keras_rmsprop.rmsprop import RMSprop

        return (RMSprop, keras.optimizers.RMSprop)

    @property
    def rule(self):
        return getattr(self.optimizer, "update_rule", KERAS)

    @property
    def iterations(self):
        # Not `optimizer.iterations`, which is less by the accumulated steps.
        return self.optimizer.variables[0]

    def known_variables(self):
        return list(self.optimizer._trainable_variables)

    def slots(self, variable):
        known = self.optimizer._trainable_variables
        if len(self._indices) != len(known):
            self._indices = {id(each): i for i, each in enumerate(known)}
        if id(variable) not in self._indices:
            return {}
        index = self._indices[id(variable)]
        return {slot: each[index] for slot, each in self._held().items()}

    def _held(self):
        held = {
            slot: getattr(self.optimizer, attribute, None)
            for slot, attribute in self.lists.items()
        }
        return {slot: each for slot, each in held.items() if each}

    def wanted_slots(self):
        optimizer = self.optimizer
        wanted = {
            "rms": True,
            "mg": optimizer.centered,
            "momentum": self.rule.has_momentum_slot(optimizer.momentum),
            "average": optimizer.use_ema,
            "gradient_accumulator": getattr(
                optimizer, "gradient_accumulation_steps", None
            ),
        }
        return [slot for slot, is_wanted in wanted.items() if is_wanted]

    def build(self, variables):
        self.optimizer.build(variables)

    def rate(self):
        return self.optimizer._learning_rate


class Keras2Adapter(KerasAdapter):
    """`tf_keras.optimizers.RMSprop`: `tf.keras` of TensorFlow 2.11 to 2.15.

    Keras 3 has kept its lists of slots. It knows no variables: only `_index_dict`
    leads from one to its place, since TensorFlow 2.9.
    """

    kind = "keras2"
    rule = KERAS2

    @staticmethod
    def classes():
        # An instance of its class can only exist once tf_keras has been imported.
        tf_keras = sys.modules.get("tf_keras")
        return (tf_keras.optimizers.RMSprop,) if tf_keras else ()

    @property
    def iterations(self):
        return self.optimizer.iterations

    def known_variables(self):
        return None

    def _anonymous_rows(self):
        held = self._held()
        names = [name_of(v).partition("velocity/")[2] for v in held.get("rms", [])]
        return [
            (name, {slot: each[index] for slot, each in held.items()})
            for index, name in enumerate(names)
        ]

    def slots(self, variable):
        places = getattr(self.optimizer, "_index_dict", {})
        index = places.get(self.optimizer._var_key(native_of(variable)))
        if index is None:
            return {}
        return {slot: each[index] for slot, each in self._held().items()}

    def build(self, variables):
        # As apply_gradients does, which names the slots so.
        with tf.name_scope(self.optimizer.name), tf.init_scope():
            self.optimizer.build([native_of(variable) for variable in variables])


class LegacyAdapter(_Adapter):
    """`keras_rmsprop.legacy.RMSprop` and `tf_keras.optimizers.legacy.RMSprop`."""

    kind = "legacy"
    rule = LEGACY

    @staticmethod
    def classes():
        from keras_rmsprop.legacy import RMSprop

        # An instance of its class can only exist once tf_keras has been imported.
        tf_keras = sys.modules.get("tf_keras")
        return (RMSprop, *([tf_keras.optimizers.legacy.RMSprop] if tf_keras else []))

    @property
    def iterations(self):
        return self.optimizer.iterations

    def known_variables(self):
        return None

    def _anonymous_rows(self):
        # OptimizerV2 has no public way from a slot to its variable; `_slots` has been
        # {variable key: {slot name: slot}} since TensorFlow 1.13.
        prefix = f"{self.optimizer._name}/"
        rows = []
        for slots in self.optimizer._slots.values():
            slot, held = next(iter(slots.items()))
            name = name_of(held).removesuffix(f"/{slot}").removeprefix(prefix)
            rows.append((name, slots))
        return rows

    def slots(self, variable):
        slots = {}
        for name in ("rms", "mg", "momentum"):
            with contextlib.suppress(KeyError):
                # tf_keras creates a slot that is asked for in vain only in graphs of
                # functions; eagerly it raises a KeyError, as ours does.
                slots[name] = self.optimizer.get_slot(native_of(variable), name)
        return slots

    def wanted_slots(self):
        # `momentum` is also used when it is a callable, whatever that returns.
        optimizer = self.optimizer
        wanted = {
            "rms": True,
            "mg": optimizer.centered,
            "momentum": optimizer._momentum,
        }
        return [slot for slot, is_wanted in wanted.items() if is_wanted]

    def build(self, variables):
        with _graph_of(self.session):
            if hasattr(self.optimizer, "build"):
                self.optimizer.build(variables)
            else:
                # What apply_gradients of tf_keras does before the first step.
                natives = [native_of(variable) for variable in variables]
                with tf.name_scope(self.optimizer._name), tf.init_scope():
                    self.optimizer._create_all_weights(natives)

    def config(self):
        with _graph_of(self.session):
            return super().config()

    def rate(self):
        return self.optimizer._hyper["learning_rate"]


class TF1Adapter(_Adapter):
    """`compat_v1.train.RMSPropOptimizer` and `tf.compat.v1.train.RMSPropOptimizer`."""

    kind = "tf1"
    rule = TF1
    # It counts no steps.
    iterations = None

    @staticmethod
    def classes():
        from compat_v1.train import RMSPropOptimizer

        return (RMSPropOptimizer, tf1.train.RMSPropOptimizer)

    def known_variables(self):
        if self.session is None:
            return None
        with self.session.graph.as_default():
            return [v for v in tf1.global_variables() if self.slots(v)]

    def _anonymous_rows(self):
        # The base class has no public way from a slot to its variable; `_slots` has
        # been {slot name: {variable key: slot}} since TensorFlow 0.5.
        by_variable = {}
        for name, slots in self.optimizer._slots.items():
            for key, slot in slots.items():
                by_variable.setdefault(key, {})[name] = slot
        suffix = re.compile(f"/{re.escape(self.optimizer.get_name())}(_[0-9]+)?$")
        return [
            (suffix.sub("", name_of(slots["rms"])), slots)
            for slots in by_variable.values()
        ]

    def slots(self, variable):
        names = ("rms", "mg", "momentum")
        held = {
            name: self.optimizer.get_slot(native_of(variable), name) for name in names
        }
        return {name: slot for name, slot in held.items() if slot is not None}

    def wanted_slots(self):
        return ["rms", *(["mg"] if self.optimizer._centered else []), "momentum"]

    def build(self, variables):
        missing = [native_of(v) for v in variables if not self.slots(v)]
        if missing:
            with _graph_of(self.session):
                # The documented hook that minimize calls before its first update.
                self.optimizer._create_slots(missing)

    def config(self):
        # It keeps them under private names only, the same since TensorFlow 0.5.
        names = ("decay", "momentum", "epsilon", "centered", "use_locking")
        config = {name: getattr(self.optimizer, f"_{name}") for name in names}
        return {
            "learning_rate": self.rate(),
            **config,
            "name": self.optimizer.get_name(),
        }

    def rate(self):
        return self.optimizer._learning_rate


@contextlib.contextmanager
def _graph_of(session):
    """Enters the graph of a session, if there is one."""
    if session is None:
        yield
    else:
        with session.graph.as_default(), session.as_default():
            yield
