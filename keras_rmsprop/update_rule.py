"""What separates the RMSProp generations of TensorFlow and Keras, as data."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, repr=False)
class UpdateRule:
    """The numerics of one generation of RMSProp.

    All generations keep a discounted mean of squared gradients and divide the
    gradient by its root. They differ in where that mean starts, where `epsilon`
    stands, and which slots exist. The formulas stand in
    `keras_rmsprop.core.reference`.

    Attributes:
        name: Short name, accepted by `UpdateRule.get`.
        initial_mean_square: Value of the mean-square accumulator before the
            first step.
        epsilon_inside_sqrt: `"always"`: the step is divided by
            `sqrt(mean_square + epsilon)`. `"with_momentum"`: so only when
            momentum is used, and by `sqrt(mean_square) + epsilon` otherwise.
        momentum_slot: `"always"`: every variable has a momentum slot.
            `"with_momentum"`: only when momentum is used.
        default_epsilon: Default `epsilon` of the API that shipped the rule, and what
            `epsilon=None` means.
        shipped_sparse_updates: What the shipped optimizer did with
            `IndexedSlices`: `"lazy"`, `"dense"`, or `"lazy_with_momentum"`
            (dense when momentum is not used).
        bitwise: Whether results equal the shipped optimizer's bit for bit on
            CPU. A rule without it may be compiled and re-associated for speed,
            within rounding.
        float32_hyperparameters: Those of `"rho"`, `"momentum"` and `"epsilon"`
            that the shipped optimizer rounds to float32 whatever the variable's
            dtype, which shows in float64.
        reciprocal_root: Whether the gradient is multiplied by the reciprocal root
            instead of divided by the root, which no training kernel does for dense
            gradients.
        clips_slices: `"summed"`: of slices that share an index, the sum is clipped.
            `"one_by_one"`: each is clipped before they are summed.
        average_start: Where the moving average of a variable (`use_ema`) starts:
            `"first_step"`: at the variable after its first step. `"variable"`: at
            the variable before it.

    Example:

    >>> UpdateRule.get("tf1").initial_mean_square
    1.0
    >>> UpdateRule.get("legacy").has_momentum_slot(momentum=0.0)
    False
    """

    name: str
    initial_mean_square: float
    epsilon_inside_sqrt: str
    momentum_slot: str
    default_epsilon: float
    shipped_sparse_updates: str
    bitwise: bool
    float32_hyperparameters: tuple[str, ...] = ()
    reciprocal_root: bool = False
    clips_slices: str = "summed"
    average_start: str = "first_step"

    def __post_init__(self):
        for field in ("initial_mean_square", "default_epsilon"):
            value = getattr(self, field)
            _check(
                field,
                value,
                isinstance(value, (int, float))
                and not isinstance(value, bool)
                and 0 <= value < float("inf"),
                "a finite number >= 0",
            )
        for field, allowed in _CHOICES.items():
            value = getattr(self, field)
            _check(field, value, value in allowed, f"one of {allowed}")
        for field in ("bitwise", "reciprocal_root"):
            value = getattr(self, field)
            _check(field, value, isinstance(value, bool), "True or False")
        allowed = ("rho", "momentum", "epsilon")
        value = tuple(self.float32_hyperparameters or ())
        _check(
            "float32_hyperparameters",
            value,
            set(value) <= set(allowed),
            f"of {allowed}",
        )
        object.__setattr__(self, "float32_hyperparameters", value)

    def __repr__(self):
        if RULES.get(self.name) == self:
            return f"UpdateRule.get({self.name!r})"
        fields = [(each.name, each.default) for each in dataclasses.fields(self)]
        held = [(name, getattr(self, name), usual) for name, usual in fields]
        return f"UpdateRule({', '.join(f'{n}={v!r}' for n, v, u in held if v != u)})"

    @classmethod
    def get(cls, identifier: "UpdateRule | str | dict[str, Any]") -> "UpdateRule":
        """Returns the rule for a name, a config dictionary or a rule.

        Args:
            identifier: `"keras"`, `"keras2"`, `"legacy"`, `"tf1"`, the dictionary
                that `get_config` returned, or an `UpdateRule`.

        Returns:
            An `UpdateRule`.

        Raises:
            ValueError: If `identifier` is none of these.
        """
        if isinstance(identifier, cls):
            return identifier
        if isinstance(identifier, str) and identifier in RULES:
            return RULES[identifier]
        if isinstance(identifier, dict):
            fields = dataclasses.fields(cls)
            names = {field.name for field in fields}
            needed = {f.name for f in fields if f.default is dataclasses.MISSING}
            _check(
                "update_rule",
                identifier,
                needed <= set(identifier) <= names,
                f"a dictionary with the keys {sorted(needed)}, and no others but "
                f"{sorted(names - needed)}",
            )
            return cls(**identifier)
        allowed = ", ".join(repr(name) for name in RULES)
        raise ValueError(
            f"`update_rule` must be one of {allowed}, or an `UpdateRule`. "
            f"Received: update_rule={identifier!r}"
        )

    def get_config(self) -> str | dict[str, Any]:
        """Returns what `get` needs to rebuild this rule: its name, or all fields."""
        if RULES.get(self.name) == self:
            return self.name
        return dataclasses.asdict(self)

    @property
    def uses_kernels(self) -> bool:
        """Whether its bits are those of TensorFlow's training kernels."""
        return self.bitwise and not self.reciprocal_root

    def has_momentum_slot(self, momentum: float) -> bool:
        """Whether variables have a momentum slot at this `momentum`."""
        return self.momentum_slot == "always" or bool(momentum)

    def has_epsilon_inside_sqrt(self, momentum: float) -> bool:
        """Whether `epsilon` stands inside the root at this `momentum`."""
        return self.epsilon_inside_sqrt == "always" or bool(momentum)

    def round_hyperparameters(self, **values: float) -> dict[str, float]:
        """Returns the hyperparameters as a dictionary, rounded as the rule has it."""
        return {
            name: float(np.float32(value))
            if name in self.float32_hyperparameters
            else value
            for name, value in values.items()
        }

    def shipped_sparse(self, momentum: float) -> str:
        """`"lazy"` or `"dense"`: what the shipped optimizer did at this `momentum`."""
        if self.shipped_sparse_updates == "lazy_with_momentum":
            return "lazy" if momentum else "dense"
        return self.shipped_sparse_updates


_CHOICES = {
    "epsilon_inside_sqrt": ("always", "with_momentum"),
    "momentum_slot": ("always", "with_momentum"),
    "shipped_sparse_updates": ("lazy", "dense", "lazy_with_momentum"),
    "clips_slices": ("summed", "one_by_one"),
    "average_start": ("first_step", "variable"),
}


def _check(field, value, holds, allowed):
    if not holds:
        raise ValueError(f"`{field}` must be {allowed}. Received: {field}={value!r}")


KERAS = UpdateRule(
    name="keras",
    initial_mean_square=0.0,
    epsilon_inside_sqrt="always",
    momentum_slot="with_momentum",
    default_epsilon=1e-7,
    shipped_sparse_updates="dense",
    bitwise=False,
)
KERAS2 = dataclasses.replace(
    KERAS,
    name="keras2",
    bitwise=True,
    reciprocal_root=True,
    clips_slices="one_by_one",
    average_start="variable",
)
LEGACY = UpdateRule(
    name="legacy",
    initial_mean_square=0.0,
    epsilon_inside_sqrt="with_momentum",
    momentum_slot="with_momentum",
    default_epsilon=1e-7,
    shipped_sparse_updates="lazy_with_momentum",
    bitwise=True,
    float32_hyperparameters=("rho", "momentum"),
    clips_slices="one_by_one",
)
TF1 = UpdateRule(
    name="tf1",
    initial_mean_square=1.0,
    epsilon_inside_sqrt="always",
    momentum_slot="always",
    default_epsilon=1e-10,
    shipped_sparse_updates="lazy",
    bitwise=True,
    float32_hyperparameters=("rho", "momentum", "epsilon"),
)
RULES = {rule.name: rule for rule in (KERAS, KERAS2, LEGACY, TF1)}
