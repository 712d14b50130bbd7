"""`arguments`: an optimizer's arguments in the terms of another API."""

import dataclasses
import difflib
import os
import textwrap
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_rmsprop import legacy, mistakes
from keras_rmsprop.migration import spelling, untold
from keras_rmsprop.migration.state import OptimizerState, live
from keras_rmsprop.update_rule import KERAS, KERAS2, LEGACY, TF1, UpdateRule

_CLIPPING = {"clipnorm": None, "clipvalue": None, "global_clipnorm": None}
_KERAS_ONLY = {
    "weight_decay": None,
    "use_ema": False,
    "ema_momentum": 0.99,
    "ema_overwrite_frequency": None,
    "loss_scale_factor": None,
    "gradient_accumulation_steps": None,
}
_KERAS_2_HAS = ("weight_decay", "use_ema", "ema_momentum", "ema_overwrite_frequency")
_MODERN = {
    "learning_rate": 0.001,
    "rho": 0.9,
    "momentum": 0.0,
    "epsilon": 1e-7,
    "centered": False,
    **_CLIPPING,
}
_LEGACY_ONLY = {"gradient_aggregator": None, "gradient_transformers": None}
# What changes nothing, for an API that has no such argument. These names are common
# to all APIs here: `time_decay` is what legacy calls `decay`, TF1 calls `rho` so.
_NEUTRAL = {
    **_CLIPPING,
    **_KERAS_ONLY,
    **_LEGACY_ONLY,
    "time_decay": 0.0,
    "use_locking": False,
}
_SHARED = ("learning_rate", "rho", "momentum", "epsilon", "centered")


@dataclasses.dataclass(frozen=True)
class _Source:
    """An API that shipped.

    Attributes:
        rule: Its `UpdateRule`.
        defaults: Its arguments, by its own names, and their defaults.
        renamed: Common names by own names, where they differ.
    """

    rule: UpdateRule
    defaults: dict
    renamed: dict = dataclasses.field(default_factory=dict)


_SOURCES = {
    "tf1": _Source(
        TF1,
        {
            "decay": 0.9,
            "momentum": 0.0,
            "epsilon": 1e-10,
            "centered": False,
            "use_locking": False,
            "name": "RMSProp",
        },
        {"decay": "rho"},
    ),
    "legacy": _Source(
        LEGACY,
        {
            **_MODERN,
            "decay": 0.0,
            "name": "RMSprop",
            **_LEGACY_ONLY,
        },
        {"decay": "time_decay", "lr": "learning_rate"},
    ),
    "keras_2017": _Source(
        LEGACY,
        {
            "lr": 0.001,
            "rho": 0.9,
            "epsilon": 1e-8,
            "decay": 0.0,
            "clipnorm": None,
            "clipvalue": None,
        },
        {"decay": "time_decay", "lr": "learning_rate"},
    ),
    "keras2": _Source(
        KERAS2,
        {
            **_MODERN,
            "name": "RMSprop",
            **{name: _KERAS_ONLY[name] for name in _KERAS_2_HAS},
            "ema_overwrite_frequency": 100,
        },
    ),
    "keras": _Source(KERAS, {**_MODERN, "name": None, **_KERAS_ONLY}),
}


@dataclasses.dataclass(frozen=True)
class _Target:
    """An optimizer class to make.

    Attributes:
        kind: The generation of its API.
        takes: Common names of its arguments.
        renamed: Own names by common names, where they differ.
        rule: Its `UpdateRule`; None if that is an argument.
        sparse_updates: What it does with sparse gradients; None if that is an
            argument.
    """

    kind: str
    takes: tuple
    renamed: dict = dataclasses.field(default_factory=dict)
    rule: UpdateRule | None = None
    sparse_updates: str | None = None


_TARGETS = {
    "keras_rmsprop.RMSprop": _Target("keras", (*_SHARED, *_CLIPPING, *_KERAS_ONLY)),
    "keras_rmsprop.legacy.RMSprop": _Target(
        "legacy",
        (*_SHARED, *_CLIPPING, *_LEGACY_ONLY, "time_decay"),
        {"time_decay": "decay"},
        rule=LEGACY,
    ),
    "compat_v1.train.RMSPropOptimizer": _Target(
        "tf1",
        (*_SHARED, "use_locking"),
        {"rho": "decay"},
        rule=TF1,
        sparse_updates="lazy",
    ),
    "keras.optimizers.RMSprop": _Target(
        "keras",
        (*_SHARED, *_CLIPPING, *_KERAS_ONLY),
        rule=KERAS,
        sparse_updates="dense",
    ),
}
# Where the classes are defined.
_CLASSES = {
    "keras_rmsprop.rmsprop.RMSprop": "keras_rmsprop.RMSprop",
    "keras_rmsprop.legacy.rmsprop.RMSprop": "keras_rmsprop.legacy.RMSprop",
    "compat_v1.train.rmsprop.RMSPropOptimizer": "compat_v1.train.RMSPropOptimizer",
    "keras.src.optimizers.rmsprop.RMSprop": "keras.optimizers.RMSprop",
}
_WHY = {
    "use_locking": "only TF1's class can be told whether an update holds its locks",
    "time_decay": (
        "`decay` divides the learning rate by 1 + decay * step; make the learning rate "
        "a tensor of the global step instead"
    ),
    "name": "each API names its variables in its own way",
    "gradient_aggregator": "gradients have to be summed before they are applied",
    "gradient_transformers": "gradients have to be transformed before they are applied",
    **{name: "clip gradients before they are applied" for name in _CLIPPING},
    **{name: "this API has no such argument" for name in _KERAS_ONLY},
}


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Arguments for a target API.

    Attributes:
        target: Name of the class.
        carried: Dictionary of the constructor's arguments that are known.
        not_carried: Dictionary of what could not be carried over, and why.
    """

    target: str
    carried: dict[str, Any]
    not_carried: dict[str, str]

    @property
    def arguments(self) -> dict[str, Any]:
        """Dictionary of all of the constructor's arguments.

        Raises:
            ValueError: If the learning rate is not among them, for which the class
                would take its own default.
        """
        if "learning_rate" in self.not_carried:
            raise ValueError(
                f"The learning rate of the source cannot be given to {self.target}: "
                f"{self.not_carried['learning_rate']}. Give one as learning_rate=..."
            )
        return self.carried

    def __repr__(self):
        given = "".join(f"\n    {k}={as_code(v)}," for k, v in self.carried.items())
        lines = [f"{self.target}({given}\n)"]
        for name, why in self.not_carried.items():
            lines.append(
                textwrap.fill(
                    f"{name}: {why}",
                    width=80,
                    initial_indent="not carried over: ",
                    subsequent_indent="    ",
                )
            )
        return "\n".join(lines)


def arguments(source: Any, target: type | str, **overrides: Any) -> Arguments:
    """Gives the arguments with which another class trains as the source does.

    Args:
        source: A live RMSProp optimizer, ours or shipped; an `OptimizerState`; or a
            pair of a generation and a dictionary of arguments by the names of its
            API, such as `("tf1", {"learning_rate": 0.1})`. Generations are `"tf1"`,
            `"keras_2017"`, `"legacy"`, `"keras2"` (TensorFlow 2.11 to 2.15) and
            `"keras"`; what is left out has the default that shipped.
        target: The class to make or its name: `"keras_rmsprop.RMSprop"`,
            `"keras_rmsprop.legacy.RMSprop"`, `"compat_v1.train.RMSPropOptimizer"` or
            `"keras.optimizers.RMSprop"`.
        **overrides: Arguments that the source does not hold, or that shall be others,
            by the names of the target's API or of the source's.

    Returns:
        `Arguments`: all arguments of the target spelled out, and what cannot carry
        over, with the reason.

    Raises:
        ValueError: If the generation, one of its arguments or the target is unknown,
            or an `OptimizerState` does not hold what the target needs. The message
            lists what has to be given.
        TypeError: If `source` is none of the above.

    Example:

    >>> found = arguments(("tf1", {"learning_rate": 0.1}), "keras_rmsprop.RMSprop")
    >>> found.arguments["update_rule"], found.arguments["epsilon"]
    ('tf1', 1e-10)
    >>> print(arguments(
    ...     ("legacy", {"decay": 0.5}), "compat_v1.train.RMSPropOptimizer"
    ... ).not_carried["decay"][:57])
    `decay` divides the learning rate by 1 + decay * step; ma
    """
    name, wanted = _target(target)
    given = _common_overrides(source, wanted, overrides)
    kind, rule, sparse_updates, common = _source(source, given)
    lost = {}
    if isinstance(source, OptimizerState):
        unknown = untold.arguments(source, _SOURCES[kind], given)
        asked = _needed(unknown, wanted)
        if asked:
            raise ValueError(untold.question(source, name, asked))
        for argument in unknown:
            lost[_own_name(kind, argument)] = "the source does not hold it"

    rate = common.get("learning_rate")
    if wanted.kind == "keras" and common.get("time_decay") and _is_number(rate):
        common["learning_rate"] = keras.optimizers.schedules.InverseTimeDecay(
            rate, decay_steps=1, decay_rate=common.pop("time_decay")
        )
    why = _why_rate_is_lost(common.get("learning_rate"), wanted)
    if why:
        lost["learning_rate"] = why
        del common["learning_rate"]
    kept = {}
    for argument in wanted.takes:
        if argument in common:
            kept[wanted.renamed.get(argument, argument)] = common.pop(argument)
        elif argument in _NEUTRAL:
            kept[wanted.renamed.get(argument, argument)] = _NEUTRAL[argument]
        elif argument not in lost:
            lost[argument] = "the source does not hold it"
    label = common.pop("name", None)
    if kind == wanted.kind or "name" in given:
        kept["name"] = label
    elif label is not None:
        lost["name"] = _WHY["name"]
    for argument, value in common.items():
        if value != _NEUTRAL[argument] and argument != "ema_momentum":
            own = _own_name(kind, argument)
            lost[own] = _WHY[argument]
    momentum = kept.get("momentum", 0.0)
    if wanted.rule is None:
        kept["update_rule"] = rule.get_config()
    else:
        lost.update(
            _differences(rule, wanted.rule, momentum, kept.get("use_ema", False))
        )
    if wanted.sparse_updates is None:
        kept["sparse_updates"] = sparse_updates
    elif wanted.sparse_updates != sparse_updates:
        lost["sparse_updates"] = (
            f"sparse gradients were {sparse_updates} and are {wanted.sparse_updates} "
            "there, always"
        )
    return Arguments(name, kept, lost)


def _target(target):
    if isinstance(target, type):
        target = _CLASSES.get(f"{target.__module__}.{target.__qualname__}", target)
    if not isinstance(target, str) or target not in _TARGETS:
        allowed = ", ".join(map(repr, _TARGETS))
        raise ValueError(
            f"`target` must be one of {allowed}, or one of these classes. "
            f"Received: target={target!r}{_meant_target(target)}"
        )
    return target, _TARGETS[target]


def _meant_target(target):
    """Returns what may have been meant, as the end of a message."""
    if live.is_optimizer(target):
        return ". Give its class"
    if not isinstance(target, str):
        return ""
    meant = [name for name, each in _TARGETS.items() if each.kind == target]
    meant = meant or difflib.get_close_matches(target, _TARGETS, n=1, cutoff=0.4)
    return f". Did you mean {' or '.join(map(repr, meant))}?" if meant else ""


def _common_overrides(source, wanted, overrides):
    """Returns overrides by common names.

    Raises:
        ValueError: If neither API has such an argument, or they mean two things by it.
    """
    theirs = _SOURCES.get(_kind(source), _SOURCES["keras"])
    ours = {wanted.renamed.get(common, common): common for common in wanted.takes}
    ours.update(name="name")
    if wanted.rule is None:
        ours["update_rule"] = "update_rule"
    if wanted.sparse_updates is None:
        ours["sparse_updates"] = "sparse_updates"
    names = ("learning_rate", *theirs.defaults)
    known = {name: {theirs.renamed.get(name, name)} for name in names}
    for own, common in ours.items():
        known.setdefault(own, set()).add(common)
    found = {}
    for name, value in overrides.items():
        if name not in known:
            raise ValueError(
                mistakes.unknown_arguments(
                    "This call or its target", {name: value}, known
                )
            )
        meant = known[name]
        if len(meant) != 1 or not found.keys().isdisjoint(meant):
            raise ValueError(
                "An argument must be given once and mean one thing in source and "
                f"target. Received: {name}={value!r}, which is "
                f"{' or '.join(sorted(meant))}. Give it by the name that only one of "
                "both has."
            )
        found[meant.pop()] = value
    # What a message showed to be filled in.
    return {name: value for name, value in found.items() if value is not ...}


def _kind(source):
    if isinstance(source, OptimizerState):
        return source.kind
    if isinstance(source, tuple) and source and isinstance(source[0], str):
        return source[0]
    return live.adapter(source).kind if live.is_optimizer(source) else None


def needed(state, target):
    """Returns what `arguments` has to be given, because a state does not hold it.

    Args:
        state: An `OptimizerState`.
        target: The class to make or its name.

    Returns:
        A dictionary of the defaults of the source's API, `...` where it has none, by
        names of arguments of the target.
    """
    unknown = untold.arguments(state, _SOURCES[state.kind], {})
    return _needed(unknown, _target(target)[1])


def _needed(unknown, wanted):
    takes = (*wanted.takes, *(() if wanted.rule else ("update_rule", "sparse_updates")))
    return {
        wanted.renamed.get(name, name): default
        for name, default in unknown.items()
        if name in takes
    }


def _source(source, overrides):
    """Returns kind, rule, sparse updates, and arguments by their common names."""
    if isinstance(source, OptimizerState):
        generation = source.kind
        rule = UpdateRule.get(source.update_rule or _SOURCES[generation].rule)
        given, defaults = dict(source.hyperparameters), {}
    elif isinstance(source, tuple) and len(source) == 2 and isinstance(source[1], dict):
        generation, given = source
        if generation not in _SOURCES:
            raise ValueError(
                f"The generation must be one of {', '.join(map(repr, _SOURCES))}. "
                f"Received: {generation!r}"
            )
        rule, defaults = _SOURCES[generation].rule, _SOURCES[generation].defaults
        given = dict(given)
    elif live.is_optimizer(source):
        found = live.adapter(source)
        generation, rule, defaults = found.kind, found.rule, {}
        given = _live_arguments(found)
    else:
        raise TypeError(
            "`source` must be an optimizer, an OptimizerState, or a pair of a "
            f"generation and arguments. Received: source={source!r}{_instead(source)}"
        )
    api = _SOURCES[generation]
    sparse_updates = given.pop("sparse_updates", None)
    is_ours = "update_rule" in given
    rule = UpdateRule.get(given.pop("update_rule", rule))
    known = {**api.defaults, **api.renamed, "learning_rate": None}
    unknown = {
        name: value
        for name, value in given.items()
        if name not in known and name not in _IGNORED
    }
    if unknown:
        owner = f"The generation {generation!r}"
        raise ValueError(mistakes.unknown_arguments(owner, unknown, known))
    common = {
        api.renamed.get(name, name): _value(name, value)
        for name, value in [*defaults.items(), *given.items()]
        if name not in _IGNORED
    }
    if common.get("epsilon", 1.0) is None and not is_ours:
        common["epsilon"] = keras.config.epsilon()
    if generation == "keras_2017":
        common.update(momentum=0.0, centered=False)
    if isinstance(source, OptimizerState):
        common = {**untold.told_by_slots(source), **common}
    common.update(overrides)
    rule = UpdateRule.get(common.pop("update_rule", rule))
    sparse_updates = common.pop("sparse_updates", sparse_updates)
    if common.get("epsilon", 1.0) is None:
        common["epsilon"] = rule.default_epsilon
    if not common.get("use_ema"):
        common.pop("ema_overwrite_frequency", None)
    if sparse_updates is None:
        sparse_updates = rule.shipped_sparse(common.get("momentum", 0.0))
    return generation, rule, sparse_updates, common


def _instead(source):
    """Returns what to give in the place of a source, as the end of a message."""
    if isinstance(source, str) and source in _SOURCES:
        return f". Give its arguments, too: ({source!r}, {{'learning_rate': ...}})"
    if isinstance(source, (str, os.PathLike)):
        return (
            f". Read a file first: arguments(read_state({source!r}), ...); or let "
            f"resume({source!r}, model) do all"
        )
    if isinstance(source, dict):
        return f". Say whose they are: ('tf1', {source!r})"
    if isinstance(source, type):
        return ". Make an optimizer of this class"
    if mistakes.is_model(source):
        return ". Give its optimizer: `model.optimizer`"
    return ""


# What tf_keras' newer optimizers add to their configuration.
_IGNORED = ("jit_compile", "is_legacy_optimizer")


def _live_arguments(found):
    # The class of 2017 has neither momentum nor centering.
    given = {"momentum": 0.0, "centered": False, **found.arguments()}
    if hasattr(found.rate(), "get_config"):
        # As data, so that a schedule of tf_keras becomes one of Keras 3.
        given["learning_rate"] = found.config()["learning_rate"]
    if found.kind == "legacy":
        # Not in its configuration, because it cannot be written down.
        given["gradient_transformers"] = found.optimizer.gradient_transformers or None
        if type(found.optimizer) is legacy.RMSprop:
            given["sparse_updates"] = found.optimizer.sparse_updates
    return given


@dataclasses.dataclass(frozen=True)
class _NoSchedule:
    """A schedule in a file that cannot be made here.

    Attributes:
        config: What the file has of it.
        why: Why it cannot be made.
    """

    config: dict
    why: str


def as_code(value):
    """Returns an argument as Python.

    Example:

    >>> as_code(keras.optimizers.schedules.PolynomialDecay(0.1, 9)).partition("=")[0]
    'keras.optimizers.schedules.PolynomialDecay(initial_learning_rate'
    """
    if type(value) is getattr(keras.optimizers.schedules, type(value).__name__, None):
        cls, config = spelling.schedule_of(value)
        given = ", ".join(f"{k}={as_code(v)}" for k, v in config.items())
        return f"keras.optimizers.schedules.{cls}({given})"
    return repr(value)


def _value(name, value):
    if name == "learning_rate" and isinstance(value, dict):
        # tf_keras' schedules have the name None, which Keras 3 cannot use.
        config = dict(value.get("config", {}))
        if config.get("name", "") is None:
            del config["name"]
        try:
            found = keras.optimizers.schedules.deserialize({**value, "config": config})
        except Exception as error:  # noqa: BLE001 (whatever a class of the user raises)
            return _NoSchedule(value, str(error).partition("\n")[0])
        if isinstance(found, keras.optimizers.schedules.LearningRateSchedule):
            return found
        return _NoSchedule(value, "it is no LearningRateSchedule")
    if isinstance(value, (float, np.floating)) and np.float32(value) == value:
        # The shortest decimal of a float32: 0.9 rather than 0.8999999761581421.
        return float(str(np.float32(value)))
    return value


def _is_number(value):
    return isinstance(value, (int, float, np.number))


def _why_rate_is_lost(rate, wanted):
    """Returns why a target cannot have this learning rate, or None."""
    if isinstance(rate, _NoSchedule):
        return (
            f"it is a schedule {rate.config.get('class_name')!r} with the "
            f"configuration {rate.config.get('config')!r}, which Keras does not make "
            f"here ({rate.why}); register its class with "
            "keras.saving.register_keras_serializable, or give a learning rate"
        )
    is_schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    if isinstance(rate, (tf.Tensor, tf.Variable)) and wanted.kind != "tf1":
        return (
            "it is a tensor or variable of its graph, perhaps of the global step; give "
            "a LearningRateSchedule instead"
        )
    if is_schedule and wanted.kind == "tf1":
        return (
            "it is a LearningRateSchedule; give a callable that returns its value at "
            "the global step instead"
        )
    return None


def _own_name(kind, argument):
    own = {common: name for name, common in _SOURCES[kind].renamed.items()}
    return own.get(argument, argument)


def _differences(rule, wanted, momentum, averages):
    """Returns in what the rule of the target differs, and why that matters."""
    found = {}
    if rule.initial_mean_square != wanted.initial_mean_square:
        found["initial mean square"] = (
            f"it was {rule.initial_mean_square:g} and is "
            f"{wanted.initial_mean_square:g} there; a run that takes its state along "
            "does not notice"
        )
    inside = rule.has_epsilon_inside_sqrt(momentum)
    if inside != wanted.has_epsilon_inside_sqrt(momentum):
        was, will_be = ("inside", "outside") if inside else ("outside", "inside")
        found["epsilon placement"] = (
            f"epsilon was added {was} the square root and is added {will_be} it there"
        )
    if averages and rule.average_start != wanted.average_start:
        found["moving average"] = (
            "it started at the variable before the first step and starts at the "
            "variable after it there, or the reverse; a run that takes its state along "
            "does not notice"
        )
    return found
