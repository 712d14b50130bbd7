"""Reads live optimizers of every API: what they are made of, and how to make twins.

The optimizers that a user passes are only read. Training is done by twins that are
built from their configuration and start without state.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_rmsprop.migration import kinds, spelling
from keras_rmsprop.migration.comparison import ingredients as ingredient
from keras_rmsprop.migration.comparison.training import (
    Keras2Trainer,
    LegacyTrainer,
    TF1Trainer,
    keras_trainer,
)
from keras_rmsprop.migration.state import live
from keras_rmsprop.rmsprop import RMSprop
from keras_rmsprop.update_rule import KERAS2, LEGACY, TF1

# In the order in which OptimizerV2 applies them; Keras 3 takes only one.
_CLIPPING = ("clipvalue", "clipnorm", "global_clipnorm")
# Settings that change training but are no ingredient of the step.
NOT_SIMULATED = ("use_ema", "gradient_accumulation_steps")
_SHIPPED = {
    ("keras", "keras"): "keras.optimizers.RMSprop",
    ("tf_keras", "keras2"): "tf_keras.optimizers.RMSprop",
    ("tf_keras", "legacy"): "tf_keras.optimizers.legacy.RMSprop",
    ("tensorflow", "tf1"): "tf.compat.v1.train.RMSPropOptimizer",
    ("compat_v1", "tf1"): "compat_v1.train.RMSPropOptimizer",
    ("keras_rmsprop", "legacy"): "keras_rmsprop.legacy.RMSprop",
}


@dataclasses.dataclass(frozen=True)
class Participant:
    """One of the two optimizers of a comparison.

    Attributes:
        name: Public name of its class.
        arguments: Dictionary of the constructor arguments that matter.
        ingredients: `Ingredients`, the learning rates yet to be recorded.
        learning_rate: Float, schedule or callable that another optimizer can take.
        make_trainer: Takes the variables' first values and returns a trainer.
        rule: The `UpdateRule` it follows.
        not_simulated: Settings in use that the simulation does not cover.
        remark: What to know where it stands for what somebody had, or None.
    """

    name: str
    arguments: dict
    ingredients: ingredient.Ingredients
    learning_rate: Any
    make_trainer: Callable
    rule: Any
    not_simulated: tuple = ()
    remark: str | None = None

    def __str__(self):
        return spelling.call(self.name, self.arguments)


def read(argument, optimizer, clips=True):
    """Returns the `Participant` for an optimizer.

    Args:
        argument: Name of the argument it was passed as, for messages.
        optimizer: RMSProp optimizer of any API, its class, or a callable without
            arguments that builds one, or text.
        clips: Whether its twins clip gradients as it does, or not at all.

    Raises:
        ValueError: If it is no RMSProp optimizer that can be compared.
    """
    build = None
    if isinstance(optimizer, str):
        optimizer = _from_text(argument, optimizer)
    elif isinstance(optimizer, type):
        optimizer = _from_class(argument, optimizer)
    elif callable(optimizer) and not live.is_optimizer(optimizer):
        build, optimizer = optimizer, optimizer()
    try:
        source = live.adapter(optimizer)
    except TypeError as error:
        raise ValueError(
            f"`{argument}` must be an RMSProp optimizer: keras_rmsprop.RMSprop, "
            "keras_rmsprop.legacy.RMSprop, compat_v1.train.RMSPropOptimizer, "
            "keras.optimizers.RMSprop, tf_keras.optimizers.RMSprop, "
            "tf_keras.optimizers.legacy.RMSprop, "
            "tf.compat.v1.train.RMSPropOptimizer, or a callable without arguments "
            "that builds one, or text such as 'tf1:momentum=0.9'. "
            f"Received: {argument}={optimizer!r}"
        ) from error
    config = source.arguments()
    if source.kind == "legacy" and "momentum" not in config:
        raise ValueError(
            f"`{argument}` must have momentum among its arguments, which the class of "
            "2017 has not; compare what `migration.arguments` makes of it instead. "
            f"Received: {argument}={optimizer!r}"
        )
    numbers = ("decay" if source.kind == "tf1" else "rho", "momentum", "epsilon")
    config.update({name: _number(argument, name, config[name]) for name in numbers})
    if not clips:
        config.update((name, None) for name in _CLIPPING if name in config)
    name = _name(source)
    if source.kind == "tf1":
        return _read_tf1(name, source.optimizer, config, build)
    if source.kind == "legacy":
        return _read_legacy(name, source.optimizer, config)
    if source.kind == "keras2":
        return _read_keras2(name, source.optimizer, config)
    return _read_keras(name, source.optimizer, source.rule, config)


def _from_text(argument, text):
    try:
        return kinds.build(text)
    except ValueError as error:
        raise ValueError(f"`{argument}`: {error}") from error


def _from_class(argument, cls):
    """Returns what a class makes without arguments."""
    try:
        return cls()
    except TypeError as error:
        raise ValueError(
            f"`{argument}` must be an optimizer, or a class that needs no arguments. "
            f"Received: {argument}={cls!r}, and {error}"
        ) from error


def _name(source):
    root = type(source.optimizer).__module__.partition(".")[0]
    default = f"{root}.{type(source.optimizer).__name__}"
    return _SHIPPED.get((root, source.kind), default)


def _number(argument, name, value):
    """Returns a hyperparameter as a float, or says that it is none."""
    try:
        return float(np.asarray(value() if callable(value) else value))
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"`{argument}` must have a `{name}` that is a number. "
            f"Received: {name}={value!r}"
        ) from error


def _clipping(config):
    return tuple((name, float(config[name])) for name in _CLIPPING if config.get(name))


def _read_keras(name, optimizer, rule, config):
    if keras.backend.backend() != "tensorflow":
        # Gradients of embeddings are dense on other backends.
        sparse, duplicates = "dense", ingredient.SUMMED
    elif isinstance(optimizer, RMSprop):
        accumulates = optimizer.gradient_accumulation_steps
        sparse = "dense" if accumulates else optimizer.sparse_updates
        one_by_one = rule.clips_slices == "one_by_one" and not accumulates
        duplicates = ingredient.CLIPPED if one_by_one else ingredient.SUMMED
    else:
        sparse = "dense"
        # The global norm turns slices into dense tensors, which sums duplicates.
        duplicates = (
            ingredient.CLIPPED if config["global_clipnorm"] else ingredient.SQUARED
        )
    return Participant(
        name=name,
        arguments=shown(config),
        ingredients=ingredients_of(
            rule, config, sparse, duplicates, weight_decay=config["weight_decay"]
        ),
        learning_rate=config["learning_rate"],
        make_trainer=lambda start: keras_trainer(
            type(optimizer).from_config(dict(config)), start
        ),
        rule=rule,
        not_simulated=tuple(name for name in NOT_SIMULATED if config[name]),
    )


def _read_keras2(name, optimizer, config):
    return Participant(
        name=name,
        arguments=shown(config),
        ingredients=ingredients_of(
            KERAS2,
            config,
            "dense",
            ingredient.CLIPPED,
            weight_decay=config["weight_decay"],
        ),
        learning_rate=config["learning_rate"],
        make_trainer=lambda start: Keras2Trainer(
            type(optimizer).from_config(dict(config)), start
        ),
        rule=KERAS2,
        not_simulated=tuple(name for name in NOT_SIMULATED if config.get(name)),
    )


# Of a class that says by its name that it is what somebody had.
_LAZY = (
    "where gradients are sparse, OptimizerV2 without momentum decayed every row, and "
    "this reference does not: is it what you had, give it sparse_updates='dense'; "
    "sparse_updates='lazy' says that it is meant"
)


def _read_legacy(name, optimizer, config):
    # As shipped, slices without momentum decay the means of every row; ours are
    # lazy unless told.
    shipped = LEGACY.shipped_sparse(config["momentum"])
    sparse = getattr(optimizer, "sparse_updates", shipped)
    visible = {**config, "sparse_updates": getattr(optimizer, "sparse_updates", None)}
    return Participant(
        name=name,
        arguments=shown(visible),
        ingredients=ingredients_of(LEGACY, config, sparse, ingredient.CLIPPED),
        learning_rate=decayed(config["learning_rate"], config["decay"]),
        make_trainer=lambda start: LegacyTrainer(
            type(optimizer).from_config(dict(config)), start
        ),
        rule=LEGACY,
        not_simulated=("gradient_transformers",)
        if getattr(optimizer, "gradient_transformers", None)
        else (),
        remark=None if sparse == shipped or _has_chosen(optimizer) else _LAZY,
    )


def _has_chosen(optimizer):
    return "sparse_updates" in optimizer.get_config()


def decayed(rate, decay):
    """Returns the learning rate of an OptimizerV2 optimizer with `decay`."""
    if not decay or callable(rate) or callable(decay):
        return rate
    return keras.optimizers.schedules.InverseTimeDecay(rate, 1, decay)


def _read_tf1(name, optimizer, config, build):
    names = ("decay", "momentum", "epsilon", "centered")
    fixed = {name: config[name] for name in names}

    def make(fix_rate):
        given = build() if build else optimizer
        return type(optimizer)(fix_rate(given._learning_rate), **fixed)

    return Participant(
        name=name,
        arguments=shown(config),
        ingredients=ingredients_of(
            TF1, {**config, "rho": config["decay"]}, "lazy", ingredient.SUMMED
        ),
        learning_rate=config["learning_rate"],
        make_trainer=lambda start: TF1Trainer(make, start),
        rule=TF1,
    )


def ingredients_of(rule, config, sparse, duplicates, weight_decay=None):
    """Returns the `Ingredients` of an optimizer, from its arguments.

    Args:
        rule: Its `UpdateRule`.
        config: Dictionary of its arguments by their Keras names.
        sparse: `"lazy"` or `"dense"`.
        duplicates: What happens to slices that share an index.
        weight_decay: Its weight decay, or None.
    """
    clipping = _clipping(config)
    if not clipping and duplicates == ingredient.CLIPPED:
        duplicates = ingredient.SUMMED
    return ingredient.Ingredients(
        initial_mean_square=float(rule.initial_mean_square),
        epsilon=float(config["epsilon"]),
        epsilon_inside_sqrt=rule.has_epsilon_inside_sqrt(config["momentum"]),
        rho=float(config["rho"]),
        momentum=float(config["momentum"]),
        centered=bool(config["centered"]),
        learning_rate=0.0,
        evaluation=(),
        sparse_updates=sparse,
        duplicate_indices=duplicates,
        clipping=clipping,
        weight_decay=float(weight_decay or 0.0),
    )


def shown(config):
    """Returns the arguments worth showing: all that are set and shape the steps."""
    hidden = ("name", "use_locking", "jit_compile", "is_legacy_optimizer")
    if not config.get("use_ema"):
        hidden += ("ema_momentum", "ema_overwrite_frequency")
    return {
        name: value
        for name, value in config.items()
        if name not in hidden and value is not None and value is not False
    }
