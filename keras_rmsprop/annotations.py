"""Types that signatures have in common. What is a tensor depends on the backend."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

Number = float | np.number
Schedule = keras.optimizers.schedules.LearningRateSchedule
LearningRate = Number | Schedule | Callable[[], Any]
Gradients = Iterable[Any]
Variables = Iterable[Any]
# Of a gradient, or None, and its variable.
GradsAndVars = Iterable[tuple[Any, Any]]
Store = Mapping[str, Any]
Config = dict[str, Any]
