"""How each API names the slots of a variable, and the way back from a name."""

import re

# Slots by what Keras calls them since 2.11.
WORDS = {
    "velocity": "rms",
    "average_gradient": "mg",
    "momentum": "momentum",
    "average": "average",
    "gradient_accumulator": "gradient_accumulator",
}
# rm_sprop/dense_kernel_velocity; the path of a variable is `dense/kernel`.
_KERAS = re.compile(f"(?P<name>.+)_(?P<word>{'|'.join(WORDS)})")


def of_keras(name):
    """Returns the variable, with `_` for `/`, and the slot that Keras 3 names so.

    None if this is the name of no slot.

    Example:

    >>> of_keras("rm_sprop/dense_kernel_average_gradient")
    ('dense_kernel', 'mg')
    """
    match = _KERAS.fullmatch(name.rpartition("/")[2])
    return (match["name"], WORDS[match["word"]]) if match else None


def of_keras_2(names):
    """Returns the variable and the slot of each name that Keras 2.11 to 2.15 gave.

    Names are `RMSprop/velocity/dense/kernel`, without the first part where the
    optimizer's loss is scaled. A layer may be called `velocity`, too; but the part
    before the slot's word is the same in all names.

    Args:
        names: Iterable of names.

    Returns:
        A dictionary of pairs by name, or None if the names are not of this form, or
        leave a choice.

    Example:

    >>> of_keras_2(["velocity/velocity/kernel", "momentum/velocity/kernel"])
    {'velocity/velocity/kernel': ('velocity/kernel', 'rms'), \
'momentum/velocity/kernel': ('velocity/kernel', 'momentum')}
    """
    choices = {}
    for name in names:
        parts = name.split("/")
        choices[name] = {
            tuple(parts[:i]): ("/".join(parts[i + 1 :]), WORDS[part])
            for i, part in enumerate(parts[:-1])
            if part in WORDS
        }
    scopes = set.intersection(*map(set, choices.values())) if choices else set()
    if len(scopes) != 1:
        return None
    (scope,) = scopes
    return {name: splits[scope] for name, splits in choices.items()}
