"""Which ingredients account for a divergence, by swapping and measuring."""

import dataclasses

from keras_rmsprop.migration.comparison.ingredients import TITLES

ROUNDING = "rounding only"
UNEXPLAINED = "unexplained"

# What remains within this factor of rounding is rounding.
_LIKE_ROUNDING = 4.0


@dataclasses.dataclass(frozen=True)
class Cause:
    """One ingredient that accounts for a divergence.

    Attributes:
        name: Such as `"epsilon value"`; `"rounding only"` where the ingredients
            that remain are the same, `"unexplained"` where the simulation does not
            reproduce an optimizer.
        reference: The reference's value, as text; None for the last two.
        candidate: The candidate's.
        remaining_alone: Greatest difference that remains when only this one is
            swapped.
        remaining: Greatest difference that remains when it is swapped together
            with the causes before it.
        remaining_by_step: Dictionary of the difference that then remains, by step.
        note: More about it, or None.
    """

    name: str
    reference: str | None = None
    candidate: str | None = None
    remaining_alone: float | None = None
    remaining: float | None = None
    remaining_by_step: dict = dataclasses.field(default_factory=dict)
    note: str | None = None


def attribute(reference, candidate, measure):
    """Returns the causes of a divergence, the one that explains most first.

    Swaps the differing ingredients of the candidate for the reference's, each time
    the one that leaves least, until no more than rounding remains; then puts back
    those that were not needed.

    Args:
        reference: `Ingredients` of the reference.
        candidate: `Ingredients` of the candidate.
        measure: Takes a list of `Ingredients`, trains with each of them, and
            returns a list of `Differences` from the reference.

    Returns:
        A tuple of `Cause`.
    """
    differing = reference.differing(candidate)
    measured = {}

    def try_out(sets):
        new = [names for names in dict.fromkeys(sets) if names not in measured]
        if new:
            made = measure([candidate.swapped(reference, names) for names in new])
            measured.update(zip(new, made))

    nothing, everything = frozenset(), frozenset(differing)
    try_out([nothing, everything])
    floor = measured[everything]

    def is_enough(names):
        left = measured[names]
        return left.equivalent or (
            left.max_abs_difference <= _LIKE_ROUNDING * floor.max_abs_difference
        )

    def left(names):
        return measured[names].max_abs_difference

    order = []
    while not is_enough(frozenset(order)):
        sets = {
            name: frozenset([*order, name]) for name in differing if name not in order
        }
        try_out(list(sets.values()))
        order.append(min(sets, key=lambda name: left(sets[name])))
    # All at once first, because each call trains the reference again.
    try_out([frozenset(order) - {name} for name in order])
    for name in list(order):
        without = frozenset(order) - {name}
        try_out([without])
        if is_enough(without):
            order.remove(name)

    shown = [frozenset(order[: place + 1]) for place in range(len(order))]
    try_out([*shown, *(frozenset([name]) for name in order)])
    causes = []
    for place, name in enumerate(order):
        causes.append(
            Cause(
                name=TITLES[name],
                reference=reference.show(name),
                candidate=candidate.show(name),
                remaining_alone=left(frozenset([name])),
                remaining=left(shown[place]),
                remaining_by_step={
                    step.step: step.max_abs_difference
                    for step in measured[shown[place]].steps
                },
            )
        )
    rest = measured[frozenset(order)]
    if not rest.equivalent:
        causes.append(Cause(name=ROUNDING, remaining=rest.max_abs_difference))
    return tuple(causes)
