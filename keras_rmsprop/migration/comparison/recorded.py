"""A recorded run as the reference of a comparison."""

import dataclasses
import os

from keras_rmsprop.migration import kinds
from keras_rmsprop.migration.comparison import ingredients as ingredient
from keras_rmsprop.migration.comparison import participants
from keras_rmsprop.migration.recording import Recording, read_recording
from keras_rmsprop.update_rule import KERAS, KERAS2, LEGACY, TF1, UpdateRule

# Public name, rule, and what happens to slices that share an index.
_SHIPPED = {
    "tf1": ("tf.train.RMSPropOptimizer", TF1, ingredient.SUMMED),
    "keras_2017": ("tf.keras.optimizers.RMSprop", LEGACY, ingredient.SUMMED),
    "legacy": ("tf.keras.optimizers.RMSprop", LEGACY, ingredient.CLIPPED),
    "keras2": ("tf.keras.optimizers.RMSprop", KERAS2, ingredient.CLIPPED),
    "keras": ("keras.optimizers.RMSprop", KERAS, ingredient.SQUARED),
}
_RATES = ("learning_rate", "lr")
_CLIPPING = ("clipvalue", "clipnorm", "global_clipnorm")


def is_recording(reference):
    """Whether this stands for a recorded run: a path or a `Recording`.

    A text that begins with a kind of optimizer is a path only of a file that exists.
    """
    if isinstance(reference, str) and kinds.is_one(reference):
        return os.path.isfile(reference)
    return isinstance(reference, (str, os.PathLike, Recording))


def read(reference):
    """Returns the `Recording`.

    Raises:
        ValueError: If it is damaged, or has no steps or no variables of one floating
            dtype.
    """
    recording = reference
    if not isinstance(reference, Recording):
        try:
            recording = read_recording(reference)
        except FileNotFoundError as error:
            raise ValueError(
                "`reference` must be an RMSProp optimizer, text that begins with one "
                f"of {', '.join(kinds.CLASSES)}, or the path of a recording. "
                f"Received: reference={reference!r}, and there is no such file"
            ) from error
    if not len(recording):
        raise ValueError(
            f"`reference` must hold a step. Received: {str(recording.path)!r} with "
            f"none ({recording.stopped})"
        )
    dtypes = sorted({value.dtype.name for value in recording.start})
    if len(dtypes) != 1 or "float" not in dtypes[0]:
        raise ValueError(
            "`reference` must have variables of one floating dtype. Received: "
            f"{str(recording.path)!r} with {', '.join(dtypes)}"
        )
    return recording


def participant(recording, argument="reference"):
    """Returns the `Participant` that stands for a recorded optimizer.

    Raises:
        ValueError: If it was no RMSProp optimizer that is known here.
    """
    generation = recording.generation
    if generation not in _SHIPPED:
        raise ValueError(
            f"`{argument}` must be a recording of an RMSProp optimizer. Received: "
            f"{str(recording.path)!r}, recorded from {recording.optimizer}"
        )
    if recording.arguments.get("loss_scale_factor"):
        raise ValueError(
            f"`{argument}` must be a recording without `loss_scale_factor`, by which "
            "its gradients are multiplied. Received: loss_scale_factor="
            f"{recording.arguments['loss_scale_factor']!r}"
        )
    name, rule, duplicates = _SHIPPED[generation]
    renamed = {"lr": "learning_rate", "decay": "time_decay"}
    if generation == "tf1":
        renamed["decay"] = "rho"
    config = {"momentum": 0.0, "centered": False}  # Which the class of 2017 has not.
    config.update((renamed.get(k, k), v) for k, v in recording.arguments.items())
    rule = UpdateRule.get(config.pop("update_rule", rule))
    sparse = config.pop("sparse_updates", None)
    if recording.optimizer.split(".")[0] in ("keras_rmsprop", "compat_v1"):
        name = recording.optimizer
        sparse = sparse or "lazy"
        summed = rule.clips_slices == "summed"
        duplicates = ingredient.SUMMED if summed else ingredient.CLIPPED
    elif generation == "keras_2017":
        sparse = "dense"
    elif generation == "keras" and config.get("global_clipnorm"):
        # The global norm turns slices into dense tensors, which sums duplicates.
        duplicates = ingredient.CLIPPED
    if recording.clipped:
        config.update(dict.fromkeys(_CLIPPING))
    rates = RecordedRates(str(recording.path), recording.iterations)
    return participants.Participant(
        name=name,
        arguments=participants.shown(
            {
                name: rates if name in recording.evaluated and name in _RATES else value
                for name, value in recording.arguments.items()
            }
        ),
        ingredients=participants.ingredients_of(
            rule,
            config,
            sparse or rule.shipped_sparse(config["momentum"]),
            duplicates,
            weight_decay=config.get("weight_decay"),
        ),
        learning_rate=rates,
        make_trainer=lambda start: RecordedTrainer(recording),
        rule=rule,
        not_simulated=tuple(
            name for name in participants.NOT_SIMULATED if config.get(name)
        ),
    )


@dataclasses.dataclass(frozen=True)
class RecordedRates:
    """Stands, in a proposed call, for the learning rates that a recording holds.

    Attributes:
        path: Path of the recording.
        first: Number of steps that had been taken before it.
    """

    path: str
    first: int

    def as_code(self):
        """Returns lines of Python that read them, and the name of their schedule."""
        steps = f"range({self.first}, {self.first} + len(rates) - 1)"
        return [
            f"recording = keras_rmsprop.migration.read_recording({self.path!r})",
            "rates = [step.learning_rate for step in recording]",
            "schedule = keras.optimizers.schedules.PiecewiseConstantDecay(",
            f"    list({steps}), rates",
            ")",
        ], "schedule"

    def __repr__(self):
        return "<recorded_rates>"


class RecordedTrainer:
    """Takes the steps that a recording holds.

    Args:
        recording: A `Recording`.
    """

    def __init__(self, recording):
        self._steps = iter(recording)

    def assign(self, changed):
        """Does nothing: what was recorded has been changed."""

    def resume(self, slots, iterations):
        """Does nothing: what was recorded has been resumed."""

    def apply(self, gradients):
        """Returns the recorded rate and values, None for values not stored."""
        step = next(self._steps)
        return step.learning_rate, step.values


def clipping_of(recording):
    """Returns the clipping of a recorded optimizer, as `Ingredients` have it."""
    return tuple(
        (name, float(recording.arguments[name]))
        for name in _CLIPPING
        if recording.arguments.get(name)
    )


def check_clipping(recording, candidate):
    """Raises where a replay could not show what the candidate's clipping does.

    Args:
        recording: A `Recording`.
        candidate: `Participant` with its clipping.

    Raises:
        ValueError: If gradients were recorded after clipping, and the candidate clips
            otherwise.
    """
    if not recording.clipped:
        return
    clipping = clipping_of(recording)
    if clipping != candidate.ingredients.clipping:
        shown = ingredient.SHOW["clipping"]
        raise ValueError(
            "`candidate` must clip as the recorded optimizer did, because its "
            f"gradients were recorded after clipping ({shown(clipping)}). Received: "
            f"a candidate with {shown(candidate.ingredients.clipping)}"
        )
