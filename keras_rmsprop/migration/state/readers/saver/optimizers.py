"""An optimizer that a checkpoint may hold, as the graph or names tell."""

import dataclasses


@dataclasses.dataclass
class Optimizer:
    """What is known of an optimizer.

    Attributes:
        slots: Dictionary by name of the variable, of dictionaries by slot, of the
            names of the slots. A variable of several parts has a list of names for
            itself (under `"variable"`) and for each slot, in the same order.
        hyperparameters: Dictionary by name of the sets of tensors of the graph that
            the kernels take.
        missing: Names of variables that it trains and whose slots are not held.
    """

    slots: dict = dataclasses.field(default_factory=dict)
    hyperparameters: dict = dataclasses.field(default_factory=dict)
    missing: set = dataclasses.field(default_factory=set)

    @property
    def slot_names(self):
        """The sets of slots that its variables have, as sorted tuples."""
        return {tuple(sorted(set(s) - {"variable"})) for s in self.slots.values()}

    def names(self):
        """Returns the names of all its variables and slots in the checkpoint."""
        return {n for slots in self.slots.values() for ns in slots.values() for n in ns}


def described(found):
    """Returns optimizers, a dictionary by name, in words."""
    texts = []
    for name, optimizer in list(found.items())[:8]:
        kinds = " or ".join(sorted(", ".join(each) for each in optimizer.slot_names))
        variable, slots = next(iter(optimizer.slots.items()))
        texts.append(
            f"{name!r} with {kinds} of {len(optimizer.slots)} variables, such as "
            f"{slots['rms'][0]!r} of {variable!r}"
        )
    more = len(found) - len(texts)
    return "; ".join(texts) + (f"; and {more} more" if more > 0 else "") or "none"
