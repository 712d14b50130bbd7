"""Learning-rate schedules with the bits of TF1's sessions."""

import copy

import keras
import tensorflow as tf

Schedule = keras.optimizers.schedules.LearningRateSchedule


@keras.saving.register_keras_serializable("keras_rmsprop")
class TF1Schedule(Schedule):
    """A Keras schedule that rounds as `tf.train`'s decays do in a session.

    Keras' schedules compute the formulas of TF1, but a formula does not settle the
    last bits: the graph optimizer, which sessions have had since TensorFlow 1.5 and
    `tf.function` has, turns a division by a constant into a multiplication by its
    reciprocal. So a schedule differs between eager execution and `fit`, by a few units
    in the last place; and with `staircase`, where `step * (1 / decay_steps)` rounds
    below a whole number, by a whole stair for one step.

    This class computes the same bits in both, on a CPU and without XLA: those of the
    session. On other Keras backends than TensorFlow it is the schedule itself.

    Args:
        schedule: A `keras.optimizers.schedules.LearningRateSchedule`, such as
            `ExponentialDecay`.
        optimized: Whether the session optimized its graph. Defaults to True; False
            for TensorFlow 1.4.
        name: Optional string.

    Example:

    >>> decay = keras.optimizers.schedules.ExponentialDecay
    >>> stairs = decay(0.1, 41, 0.5, staircase=True)
    >>> float(stairs(41)), float(TF1Schedule(stairs)(41))
    (0.05000000074505806, 0.10000000149011612)
    >>> float(TF1Schedule(stairs)(42))
    0.05000000074505806
    """

    def __init__(self, schedule, optimized=True, name="TF1Schedule"):
        super().__init__()
        if not isinstance(schedule, Schedule):
            raise ValueError(
                "`schedule` must be a keras.optimizers.schedules.LearningRateSchedule. "
                f"Received: schedule={schedule!r}"
            )
        self.schedule = schedule
        self.optimized = optimized
        self.name = name

    def __call__(self, step):
        if keras.backend.backend() != "tensorflow":
            return self.schedule(step)
        step = tf.convert_to_tensor(step)
        if self.optimized:
            return _in_graph(self.schedule, step)
        return self._as_written(step)

    def _as_written(self, step):
        """Computes the schedule as written, in graphs too."""
        schedule = copy.copy(self.schedule)
        for name in ("decay_steps", "power"):
            if hasattr(schedule, name):
                # No constant for the graph optimizer, which would replace the
                # division, and powers by products and roots.
                value = tf.raw_ops.PlaceholderWithDefault(
                    input=float(getattr(schedule, name)), shape=()
                )
                setattr(schedule, name, value)
        return schedule(step)

    def get_config(self):
        return {
            "schedule": keras.optimizers.schedules.serialize(self.schedule),
            "optimized": self.optimized,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config):
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(**{**config, "schedule": schedule})

    def __repr__(self):
        # As Python, for messages that show how to go on.
        cls = type(self.schedule)
        home = __name__ if cls.__module__ == __name__ else "keras.optimizers.schedules"
        config = self.schedule.get_config().items()
        given = ", ".join(f"{k}={v!r}" for k, v in config if k != "name")
        schedule = f"{home}.{cls.__name__}({given})"
        return f"{__name__}.TF1Schedule({schedule}, optimized={self.optimized})"


@keras.saving.register_keras_serializable("keras_rmsprop")
class NaturalExpDecay(Schedule):
    """The `tf.train.natural_exp_decay` of TensorFlow 1.4 to 1.12.

    The rate is `initial_learning_rate * exp(-decay_rate * step / decay_steps)`. Later
    versions compute the power of a constant, `exp(-decay_rate)`, which rounds
    otherwise and is Keras' `ExponentialDecay`.

    Args:
        initial_learning_rate: Float.
        decay_steps: Number of steps.
        decay_rate: Float.
        staircase: Whether only whole multiples of `decay_steps` count.
        name: Optional string.

    Example:

    >>> float(NaturalExpDecay(1.0, decay_steps=10, decay_rate=0.5)(20))
    0.3678794503211975
    """

    def __init__(
        self,
        initial_learning_rate,
        decay_steps,
        decay_rate,
        staircase=False,
        name="NaturalExpDecay",
    ):
        super().__init__()
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step):
        ops = keras.ops
        rate = ops.convert_to_tensor(self.initial_learning_rate)
        steps = ops.cast(self.decay_steps, rate.dtype)
        passed = ops.cast(step, rate.dtype) / steps
        if self.staircase:
            passed = ops.floor(passed)
        decay = ops.negative(ops.cast(self.decay_rate, rate.dtype))
        return rate * ops.exp(decay * passed)

    def get_config(self):
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
            "staircase": self.staircase,
            "name": self.name,
        }


@tf.function(autograph=False)
def _in_graph(schedule, step):
    # Traced for each schedule, which is no tensor.
    return schedule(step)
