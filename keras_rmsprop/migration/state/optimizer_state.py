"""`OptimizerState`: what an RMSProp optimizer remembers between two steps."""

import dataclasses
import os
import warnings
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from keras_rmsprop.migration import spelling, tables
from keras_rmsprop.migration.state import application, file_format, naming

_Optimizer = TypeVar("_Optimizer")
# Slots go by their TF1 names, and what only Keras has by its Keras names.
SLOT_NAMES = ("rms", "mg", "momentum", "average", "gradient_accumulator")


@dataclasses.dataclass(frozen=True, eq=False)
class VariableState:
    """What an optimizer remembers of one variable.

    Attributes:
        slots: Dictionary of arrays of the variable's shape. `"rms"`: mean of squared
            gradients; `"mg"`: mean of gradients (centered only); `"momentum"`; and
            from Keras `"average"` (`use_ema`) and `"gradient_accumulator"`. An
            OptimizerV2 of another class has slots of other names.
        value: The variable's own value as an array, or None where the source holds
            none.
    """

    slots: dict[str, np.ndarray]
    value: np.ndarray | None = None

    def __post_init__(self):
        ordered = [slot for slot in SLOT_NAMES if slot in self.slots]
        ordered += [slot for slot in self.slots if slot not in SLOT_NAMES]
        object.__setattr__(self, "slots", {slot: self.slots[slot] for slot in ordered})

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the variable, a tuple."""
        arrays = [*self.slots.values(), *([] if self.value is None else [self.value])]
        return np.shape(arrays[0]) if arrays else ()


@dataclasses.dataclass(eq=False)
class OptimizerState:
    """The state of an RMSProp optimizer, apart from any API.

    Attributes:
        variables: Dictionary of `VariableState` by variable name, in the order of
            the source. Names have no `:0`. Where the source orders variables but
            does not name them (Keras 3's `.keras` and `.weights.h5`) they are
            `"0"`, `"1"`, ...
        iterations: Number of steps taken, or None where the source does not tell.
        kind: `"tf1"`, `"legacy"`, `"keras2"` or `"keras"`: the generation of the
            source's API.
        update_rule: Name of the `UpdateRule` the source trained with, or None where
            a Keras file does not tell, and for an OptimizerV2 that is no RMSProp.
        hyperparameters: Dictionary of those that the source holds as numbers, by
            the argument names of its API.
        origin: Where it was read from, for messages.
        others: Dictionary of arrays by name: the model's variables that the source
            holds and the optimizer keeps nothing of, such as the moving statistics of
            a batch normalization.
        loss_scale: Dictionary of what a `LossScaleOptimizer` around the optimizer
            held, empty if there was none: `"dynamic_scale"`, the factor;
            `"step_counter"`, the number of steps since it last changed; and its
            arguments `"initial_scale"` and `"dynamic_growth_steps"`.
        not_read: Tuple of texts: what else the source holds and this state does not.

    Example:

    >>> import numpy as np
    >>> rms = np.ones([2, 3], "float32")
    >>> state = OptimizerState({"w": VariableState({"rms": rms})}, iterations=5)
    >>> print(state)
    OptimizerState of kind 'keras' (update_rule=None)
      iterations: 5
      hyperparameters: none held
      variable  shape   dtype    slots  value
      --------  ------  -------  -----  -----
      w         (2, 3)  float32  rms    no
    """

    variables: dict[str, VariableState]
    iterations: int | None = None
    kind: str = "keras"
    update_rule: str | None = None
    hyperparameters: dict[str, Any] = dataclasses.field(default_factory=dict)
    origin: str = ""
    others: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    loss_scale: dict[str, Any] = dataclasses.field(default_factory=dict)
    not_read: tuple[str, ...] = ()

    @property
    def is_positional(self) -> bool:
        """Whether variables go by their positions instead of names."""
        return list(self.variables) == [str(i) for i in range(len(self.variables))]

    def select(self, names: str | Iterable[str]) -> "OptimizerState":
        """Returns the state of some variables, for a model that has no others.

        Args:
            names: Iterable of variable names, or a prefix (a string), as
                `"generator/"`.

        Raises:
            ValueError: If there is no such variable.

        Example:

        >>> import numpy as np
        >>> slots = {"rms": np.ones(2)}
        >>> both = {"g/w": VariableState(slots), "d/w": VariableState(slots)}
        >>> list(OptimizerState(both).select("g/").variables)
        ['g/w']
        """
        if isinstance(names, str):
            chosen = [name for name in self.variables if name.startswith(names)]
        else:
            chosen = list(names)
        unknown = [name for name in chosen if name not in self.variables]
        if unknown or not chosen:
            raise ValueError(
                f"`names` must select variables of the state: {list(self.variables)}. "
                f"Received: names={names!r}"
            )
        variables = {name: self.variables[name] for name in chosen}
        return dataclasses.replace(self, variables=variables)

    def apply_to(
        self,
        optimizer: _Optimizer,
        variables: Any,
        name_map: Mapping[str, str] | None = None,
        *,
        restore_values: bool = False,
        session: Any = None,
        global_step: Any = None,
        allow: Iterable[str] = (),
    ) -> _Optimizer:
        """Builds an optimizer on variables and gives it this state.

        Variables are matched to the state's by name (`keras.Variable.path`, or
        `tf.Variable.name` without `:0`), whole or without outer scopes, and by a
        shape that only one of either side has. A number at the end of a name
        (`dense_1`) counts for nothing unless both sides have the same ones in the
        same order. A state without names is matched by position, and every shape has
        to agree. Whatever leaves a choice is an error, which prints a `name_map`.

        A momentum slot that the optimizer needs though its momentum is 0 starts at
        zero; one that it does not have is dropped if the source's momentum was 0.
        Neither changes a result. Where the state tells how the source was made, an
        optimizer that was made otherwise is refused.

        Args:
            optimizer: `keras_rmsprop.RMSprop`, `keras_rmsprop.legacy.RMSprop`,
                `compat_v1.train.RMSPropOptimizer`, or one of those that shipped.
                Its hyperparameters stay as they are; `migration.arguments` gives
                those of the source.
            variables: The model to train; or a list of its variables,
                `keras.Variable` or `tf.Variable`.
            name_map: Dictionary of names in the state by names of variables, for
                those that the rules above leave undecided. Defaults to None.
            restore_values: Whether the variables also take the values that the
                source holds for them; those of a model with the ones that are not
                trained. What the source has besides is named in a warning. Defaults
                to False.
            session: Session of the variables' graph, for a TF1 graph. Slots are
                created in the graph if `minimize` has not done so; what is written
                needs no initializer. Defaults to None: eager execution.
            global_step: Variable to set to the number of steps; a TF1 optimizer has
                no counter of its own. Defaults to None.
            allow: Names of what may be otherwise than in the source: `"update_rule"`,
                `"centered"` (mean gradients are dropped), `"momentum"` (it starts at
                zero, or is dropped) and the other arguments; `"nan"` and `"negative"`
                for such elements of slots (negative ones of mean squares). Each is
                named, so that what has not been seen is still refused. Defaults to
                none of them.

        Returns:
            `optimizer`.

        Raises:
            ValueError: If a variable or a slot is ambiguous, missing, left over or
                of another shape or dtype, or the optimizer contradicts the state. The
                message lists them, and nothing has been written.
            TypeError: If it is no RMSProp optimizer, or these are no variables.

        Example:

        >>> import keras, numpy as np, keras_rmsprop
        >>> weight = keras.Variable([0.0, 0.0], name="w")
        >>> saved = {"w": VariableState({"rms": np.full(2, 4.0, "float32")})}
        >>> optimizer = OptimizerState(saved, iterations=7).apply_to(
        ...     keras_rmsprop.RMSprop(0.1), [weight])
        >>> int(optimizer.iterations)
        7
        """
        unused = application.apply(
            self,
            optimizer,
            variables,
            name_map,
            restore_values=restore_values,
            session=session,
            global_step=global_step,
            allow=allow,
        )
        if restore_values and unused:
            warnings.warn(
                f"The source also holds {naming.listed(unused)}, which these variables "
                "are not, and which stay as they are. Given the model instead of a "
                "list, `apply_to` takes those that it has; `state.others` has all.",
                stacklevel=2,
            )
        return optimizer

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the state to a file, in one step.

        An earlier file stays as it was until the new one is complete. The format is
        described in `docs/moving-state.md`: an `.npz` file of plain arrays, with a
        header in JSON. Nothing in it is executable.

        Args:
            path: String or path-like. No suffix is added.

        Raises:
            OSError: If the file cannot be written.
        """
        file_format.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "OptimizerState":
        """Reads a file that `save` wrote.

        Args:
            path: String or path-like.

        Raises:
            FileNotFoundError: If there is no such file.
            IsADirectoryError: If it is a directory, which `read_state` reads.
            ValueError: If the file is truncated, damaged or of another kind.
        """
        return file_format.load(path, cls, VariableState)

    def __repr__(self):
        held = ", ".join(
            f"{k}={spelling.written(v)}" for k, v in self.hyperparameters.items()
        )
        origin = f" from {self.origin}" if self.origin else ""
        lines = [
            tables.filled(
                f"OptimizerState of kind {self.kind!r} "
                f"(update_rule={self.update_rule!r}){origin}",
                "  ",
            ),
            "  iterations: "
            + ("not held" if self.iterations is None else str(self.iterations)),
            tables.filled(f"  hyperparameters: {held or 'none held'}", "    "),
        ]
        rows = []
        for name, each in self.variables.items():
            dtype = next((np.asarray(a).dtype.name for a in each.slots.values()), "")
            value = "no" if each.value is None else "yes"
            rows.append((name, str(each.shape), dtype, ", ".join(each.slots), value))
        lines += tables.table(
            ("variable", "shape", "dtype", "slots", "value"), rows, indent="  "
        )
        if self.loss_scale:
            held = ", ".join(f"{k}={v!r}" for k, v in self.loss_scale.items())
            lines.append(f"  loss scale: {held}")
        if self.others:
            lines.append(f"  without slots: {naming.listed(self.others, 8)}")
        lines += [f"  not read: {text}" for text in self.not_read]
        return "\n".join(lines)
