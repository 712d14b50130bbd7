"""All that can hold or take a state: RMSProp optimizers, and two kinds more.

A `LossScaleOptimizer` holds the state of the optimizer in it and one of its own. An
OptimizerV2 that is no RMSProp has slots of its own names, which another of its class
takes.
"""

import keras
import tensorflow as tf

from keras_rmsprop import legacy
from keras_rmsprop.migration.state import live


def adapter(optimizer, session=None):
    """Returns the adapter of whatever holds a state; see `live.adapter`.

    Raises:
        TypeError: If the optimizer is none of these.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return LossScaleAdapter(optimizer, session)
    if isinstance(optimizer, legacy.Optimizer) and not isinstance(
        optimizer, legacy.RMSprop
    ):
        return OptimizerV2Adapter(optimizer, session)
    return live.adapter(optimizer, session)


class LossScaleAdapter:
    """Keras 3's `LossScaleOptimizer` around an RMSProp optimizer.

    Everything but the scale is the inner optimizer's.
    """

    def __init__(self, optimizer, session):
        self._scaling = optimizer
        self._inner = live.adapter(optimizer.inner_optimizer, session)

    def __getattr__(self, name):
        return getattr(self._inner, name)

    def build(self, variables):
        # It would make its variables anew.
        if not self._scaling.built:
            self._scaling.build(variables)

    def loss_scale(self):
        """Returns `OptimizerState.loss_scale`."""
        scaling = self._scaling
        found = {
            "initial_scale": float(scaling.initial_scale),
            "dynamic_growth_steps": int(scaling.dynamic_growth_steps),
        }
        if scaling.built:
            scale, count = self.read([scaling.dynamic_scale, scaling.step_counter])
            found.update(dynamic_scale=float(scale), step_counter=int(count))
        return found

    def loss_scale_problems(self, loss_scale):
        """Returns what is wrong with the loss scale of a state, in words."""
        if "dynamic_scale" not in loss_scale:
            return []
        scale, count = loss_scale["dynamic_scale"], loss_scale.get("step_counter", 0)
        limit = self._scaling.dynamic_growth_steps
        problems = []
        # float32 overflows beyond.
        if not isinstance(scale, (int, float)) or not 0 < scale < 2.0**128:
            problems.append(
                "loss scale: it must be a number > 0 that float32 holds. Received: "
                f"state.loss_scale['dynamic_scale']={scale!r}"
            )
        if not isinstance(count, int) or not 0 <= count < limit:
            problems.append(
                "loss scale: the number of steps since it last changed must be below "
                f"the optimizer's dynamic_growth_steps={limit!r}, or it never changes "
                f"again. Received: state.loss_scale['step_counter']={count!r}"
            )
        return problems

    def loss_scale_pairs(self, loss_scale):
        """Returns what `write` takes to set the scale, as pairs.

        A state without a scale leaves the one that the optimizer starts with.
        """
        if "dynamic_scale" not in loss_scale:
            return []
        return [
            (self._scaling.dynamic_scale, loss_scale["dynamic_scale"]),
            (self._scaling.step_counter, loss_scale.get("step_counter", 0)),
        ]


class OptimizerV2Adapter(live.LegacyAdapter):
    """An optimizer of somebody's own that `keras_rmsprop.legacy.Optimizer` runs."""

    update_rule = None

    @staticmethod
    def classes():
        return (legacy.Optimizer,)

    def _slot_names(self):
        if self.optimizer.get_slot_names():
            return list(self.optimizer.get_slot_names())
        # Only the class knows, and tells by making them: for a variable that does not
        # matter, in an optimizer that does not either.
        twin = type(self.optimizer).from_config(self.optimizer.get_config())
        twin.build([tf.Variable(0.0)])
        return list(twin.get_slot_names())

    def slots(self, variable):
        held = self.optimizer._slots.get(self.optimizer._var_key(variable), {})
        return dict(held)

    def wanted_slots(self):
        return self._slot_names()

    def momentum(self):
        # What a class does with a hyperparameter of this name is its own matter.
        return None
