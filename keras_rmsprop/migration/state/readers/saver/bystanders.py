"""What a checkpoint holds besides an optimizer's variables and their slots."""

import re

# Adam's counters, the only ones that are no whole numbers.
_BETA_POWER = re.compile("(.*/)?beta[12]_power(_[0-9]+)?")


def sort(checkpoint, variables, used, kept_by):
    """Sorts what no one has read yet.

    Args:
        checkpoint: A `Checkpoint`.
        variables: Its `SavedVariables`.
        used: Set of names of variables that have been read.
        kept_by: Dictionary by name of variables that training kernels keep, of the
            kernels' types.

    Returns:
        A dictionary of arrays by name, of variables that are the model's; and a list
        of what the others are, in words.
    """
    parts = {}
    for name, whole in variables.wholes.items():
        parts.setdefault(whole, []).append(name)
    shapes = {
        whole: checkpoint.shapes[variables.key(ps[0])] for whole, ps in parts.items()
    }
    others, left = {}, {}
    for whole, names in parts.items():
        dtype = checkpoint.dtypes[variables.key(names[0])]
        if not used.isdisjoint(names):
            continue
        if names[0] in kept_by:
            what = f"slots of another optimizer ({kept_by[names[0]]})"
        elif _belongs_to_another(whole, shapes):
            what = "moving averages or slots of other optimizers"
        elif _BETA_POWER.fullmatch(whole) or dtype.is_integer and not shapes[whole]:
            what = "counters"
        elif not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
            what = f"what is {dtype.name}"
        else:
            others[whole] = variables.whole(names, names)
            continue
        left.setdefault(what, []).append(whole)
    if variables.foreign:
        left["what is no variable"] = variables.foreign
    return others, [f"{what}: {listed(names)}" for what, names in left.items()]


def _belongs_to_another(name, shapes):
    """Whether a name is that of another variable with something behind it."""
    words = name.split("/")
    for first in range(len(words)):
        for last in range(first + 1, len(words)):
            other = "/".join(words[first:last])
            # Behind the scope of a `minimize`, only if it also fits.
            if other in shapes and (first == 0 or shapes[other] == shapes[name]):
                return True
    return False


def listed(names):
    """Returns names in words, at most five."""
    names = sorted(names)
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more
