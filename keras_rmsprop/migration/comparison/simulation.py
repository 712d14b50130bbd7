"""An RMSProp step put together from ingredients, to swap them one at a time.

It is written in plain NumPy and shares no code with the optimizers, so that it can
vouch for what was read from them: where it does not reproduce an optimizer's
steps, the comparison says that it cannot explain them.
"""

import numpy as np

from keras_rmsprop.migration.comparison.ingredients import SQUARED, SUMMED
from keras_rmsprop.migration.recording import Slices


class Simulation:
    """Steps variables as an optimizer with these ingredients would.

    Args:
        ingredients: `Ingredients`.
        start: List of arrays, the variables' first values. Computation is in
            their dtypes.
        slots: List of dictionaries of arrays by slot name, to go on from. Defaults to
            None: those of a new optimizer.

    Example:

    >>> from keras_rmsprop.migration.comparison.ingredients import Ingredients
    >>> tf1 = Ingredients(
    ...     initial_mean_square=1.0, epsilon=1e-10, epsilon_inside_sqrt=True, rho=0.9,
    ...     momentum=0.0, centered=False, learning_rate=0.5, evaluation=(1.0,),
    ...     sparse_updates="lazy", duplicate_indices=SUMMED, clipping=(),
    ...     weight_decay=0.0)
    >>> values = Simulation(tf1, [np.array([1.0, 2.0])]).apply(
    ...     [np.array([0.3, 0.0])], learning_rate=0.5)
    >>> values[0].round(4).tolist()
    [0.8427, 2.0]
    """

    def __init__(self, ingredients, start, slots=None):
        self.ingredients = ingredients
        self.values = [np.array(value) for value in start]
        self._slots = [
            {
                "rms": np.full_like(value, ingredients.initial_mean_square),
                "mg": np.zeros_like(value),
                "momentum": np.zeros_like(value),
            }
            for value in self.values
        ]
        for held, given in zip(self._slots, slots or ()):
            held.update((slot, np.array(value)) for slot, value in given.items())

    def assign(self, changed):
        """Sets variables, given by their position."""
        for position, value in changed.items():
            self.values[position][...] = value

    def apply(self, gradients, learning_rate):
        """Takes one step and returns the new values.

        Args:
            gradients: List with an array, `Slices` or None for each variable.
            learning_rate: Float.
        """
        with np.errstate(all="ignore"):
            if self.ingredients.duplicate_indices == SUMMED:
                gradients = [_summed(gradient) for gradient in gradients]
            gradients = clipped(gradients, self.ingredients.clipping)
            for value, slots, gradient in zip(self.values, self._slots, gradients):
                if gradient is not None:
                    self._step(value, slots, gradient, learning_rate)
        return [value.copy() for value in self.values]

    def _step(self, value, slots, gradient, learning_rate):
        chosen = self.ingredients
        scalar = value.dtype.type
        rate, rho, epsilon = map(scalar, (learning_rate, chosen.rho, chosen.epsilon))
        if chosen.weight_decay:
            value -= value * scalar(chosen.weight_decay) * rate

        rows = ...
        squared = np.square(_values(gradient))
        if isinstance(gradient, Slices):
            squares = _summed(gradient._replace(values=squared))
            gradient = _summed(gradient)
            rows, g = gradient.indices, gradient.values
            g2 = squares.values if chosen.duplicate_indices == SQUARED else g * g
            if chosen.sparse_updates == "dense":
                g, g2 = _spread(value, rows, g), _spread(value, rows, g2)
                rows = ...
        else:
            g, g2 = gradient, squared

        slots["rms"][rows] = rho * slots["rms"][rows] + (1 - rho) * g2
        variance = slots["rms"][rows]
        if chosen.centered:
            slots["mg"][rows] = rho * slots["mg"][rows] + (1 - rho) * g
            variance = variance - np.square(slots["mg"][rows])
        if chosen.epsilon_inside_sqrt:
            denominator = np.sqrt(variance + epsilon)
        else:
            denominator = np.sqrt(variance) + epsilon
        # A centered denominator can round to one that has no quotient; where an
        # optimizer turns that into NaN, its own steps show it.
        step = np.where(denominator > 0, rate * g / denominator, scalar(0))
        slots["momentum"][rows] *= scalar(chosen.momentum)
        slots["momentum"][rows] += step
        value[rows] -= slots["momentum"][rows]


def _values(gradient):
    return gradient.values if isinstance(gradient, Slices) else gradient


def _summed(gradient):
    if not isinstance(gradient, Slices):
        return gradient
    rows, places = np.unique(gradient.indices, return_inverse=True)
    values = np.zeros((len(rows), *gradient.values.shape[1:]), gradient.values.dtype)
    np.add.at(values, places.reshape(-1), gradient.values)
    return Slices(values, rows)


def _spread(like, rows, values):
    dense = np.zeros_like(like)
    dense[rows] = values
    return dense


def _norm(arrays):
    return np.sqrt(sum(np.sum(np.square(array)) for array in arrays))


def _scaled(norm, limit):
    """Returns what to multiply by so that a norm does not exceed its limit."""
    return limit / max(norm, limit)


def clipped(gradients, clipping):
    """Returns gradients as `(argument, value)` pairs clip them, one after the other."""
    present = [g for g in gradients if g is not None]
    for kind, limit in clipping:
        arrays = [_values(gradient) for gradient in present]
        if kind == "clipvalue":
            arrays = [
                np.clip(a, a.dtype.type(-limit), a.dtype.type(limit)) for a in arrays
            ]
        elif kind == "clipnorm":
            arrays = [(a * _scaled(_norm([a]), limit)).astype(a.dtype) for a in arrays]
        else:
            factor = _scaled(_norm(arrays), limit)
            arrays = [(a * factor).astype(a.dtype) for a in arrays]
        present = [
            g._replace(values=a) if isinstance(g, Slices) else a
            for g, a in zip(present, arrays)
        ]
    results = iter(present)
    return [None if g is None else next(results) for g in gradients]
