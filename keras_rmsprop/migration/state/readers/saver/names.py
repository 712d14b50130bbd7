"""The RMSProp optimizers of a checkpoint without a graph: names have to do.

The slots of `v` are `v/RMSProp`, `v/RMSProp_1` and, if centered, `v/RMSProp_2`, in
order of creation, with the optimizer's name for `RMSProp`.
"""

import re

from keras_rmsprop.migration.state.readers.saver.optimizers import Optimizer

# Slots in order of creation, by their number.
_ORDERS = {2: ("rms", "momentum"), 3: ("rms", "mg", "momentum")}
# Default names of other optimizers that have as many slots as an RMSProp may have.
_OTHERS = ("Adadelta", "AdagradDA", "Adam", "AdaMax", "AdamW", "Ftrl", "Nadam")
_ADAMS = ("Adam", "AdaMax", "AdamW", "Nadam")
_BETA_POWER = re.compile("(.*/)?beta1_power(_[0-9]+)?")
# A partitioned variable scope puts this between a variable and its slots.
_PARTITION_SCOPE = re.compile("/t_0$")


def optimizers(checkpoint, optimizer_name):
    """Finds the optimizers that names suggest.

    An optimizer is one that has two or three slots, of the same shape and dtype as
    their variable, for every variable it has slots for.

    Args:
        checkpoint: A `Checkpoint`.
        optimizer_name: The name that was asked for, or None.

    Returns:
        A dictionary of `Optimizer` by name, and a list of what is no such optimizer,
        in words.
    """
    by_variable = {}
    for key in sorted(checkpoint.shapes):
        variable = _variable_of(key, checkpoint)
        if variable is not None:
            by_variable.setdefault(variable, {})[key.rpartition("/")[2]] = key
    groups = {}
    for variable, keys in by_variable.items():
        for name, chain in _chains(keys).items():
            groups.setdefault(name, {})[variable] = chain
    found, refused = {}, []
    for name, chains in groups.items():
        counts = sorted({len(chain) for chain in chains.values()})
        if counts == [1]:
            # Another optimizer, or moving averages.
            continue
        if len(counts) > 1 or counts[0] not in _ORDERS:
            few = min(chains, key=lambda v: len(chains[v]))
            refused.append(
                f"{name!r} has {' or '.join(map(str, counts))} slots, as "
                f"{chains[few]} of {few!r}; an RMSProp has 2 or 3, of each variable"
            )
        elif name in _OTHERS and name != optimizer_name:
            refused.append(f"{name!r} has the name of another optimizer")
        else:
            found[name] = Optimizer(
                {
                    variable: {
                        "variable": [variable],
                        **{s: [key] for s, key in zip(_ORDERS[len(chain)], chain)},
                    }
                    for variable, chain in chains.items()
                }
            )
    adams = [name for name in groups if name in _ADAMS and name != optimizer_name]
    return _without_adam(checkpoint, found, adams, refused), refused


def check_values(prefix, name, slots, may_be_non_finite):
    """Raises ValueError if slots, by key, cannot be mean squares."""
    for key, value in slots.items():
        # NaN is neither.
        if (value < 0).any():
            what = "is negative in places, which no mean of squares is"
        elif not may_be_non_finite and not (abs(value) < float("inf")).all():
            what = (
                "is not finite; if that run has diverged so, "
                f"optimizer_name={name!r} reads it all the same"
            )
        else:
            continue
        raise ValueError(
            f"By its name {key!r} of the checkpoint {prefix!r} is the mean of squared "
            f"gradients of an RMSProp {name!r}, but it {what}. The checkpoint may be "
            "another optimizer's; the .meta file, beside the checkpoint, would tell."
        )


def _variable_of(key, checkpoint):
    """Returns the variable that a key may be a slot of, or None."""
    scope = _PARTITION_SCOPE.sub("", key.rpartition("/")[0])
    # A variable scope around `minimize` stands before the variable's name.
    while scope:
        same = (
            scope in checkpoint
            and checkpoint.shapes[scope] == checkpoint.shapes[key]
            and checkpoint.dtypes[scope] == checkpoint.dtypes[key]
        )
        if same:
            return scope
        scope = scope.partition("/")[2]
    return None


def _chains(keys):
    """Returns lists of keys by name: those of `name`, `name_1`, `name_2`, ...

    Names that end so of themselves can be read in two ways, and are.
    """
    chains = {}
    for name in keys:
        chain = [keys[name]]
        while f"{name}_{len(chain)}" in keys:
            chain.append(keys[f"{name}_{len(chain)}"])
        chains[name] = chain
    # `v/RMSProp_1` is no optimizer of its own, unless it has slots of its own.
    followers = {
        f"{name}_{i}" for name, chain in chains.items() for i in range(1, len(chain))
    }
    return {
        name: chain
        for name, chain in chains.items()
        if name not in followers or len(chain) > 1
    }


def _without_adam(checkpoint, found, adams, refused):
    """Leaves out what may be an Adam: one whose `beta1_power` no other explains."""
    powers = [key for key in sorted(checkpoint.shapes) if _BETA_POWER.fullmatch(key)]
    unexplained = len(powers) - len(adams)
    # TensorFlow's own name is that of an RMSProp; of several, the user has to choose.
    suspects = [name for name in found if name != "RMSProp"]
    if unexplained <= 0 or len(suspects) > unexplained:
        return found
    for name in suspects:
        refused.append(
            f"{name!r} may be an Adam, which {powers[0]!r} in the checkpoint belongs to"
        )
    return {name: each for name, each in found.items() if name not in suspects}
