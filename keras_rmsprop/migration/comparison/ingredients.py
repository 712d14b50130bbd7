"""What can differ between two RMSProp optimizers, as data.

The comparison swaps these one at a time, so each field is one possible cause of a
divergence and carries the name that reports give it, and what they say of a candidate
that has it otherwise.
"""

import dataclasses

SUMMED = "summed first"
CLIPPED = "clipped one by one, then summed"
SQUARED = "squared one by one, then summed"


def _ingredient(title, phrase, show=str):
    return dataclasses.field(metadata={"title": title, "phrase": phrase, "show": show})


def _show_evaluation(factors):
    if len(set(factors)) == 1:
        return "constant"
    return f"{factors[0]:.3g} of its greatest value at first, {factors[-1]:.3g} at last"


def _show_clipping(clipping):
    return ", ".join(f"{name}={value:g}" for name, value in clipping) or "none"


@dataclasses.dataclass(frozen=True)
class Ingredients:
    """Everything that decides how an RMSProp optimizer steps, rounding aside.

    Attributes:
        initial_mean_square: Value of the mean-square accumulator at the start.
        epsilon: What keeps the denominator from zero.
        epsilon_inside_sqrt: Whether `epsilon` is added before the root is taken.
        rho: Discount of both means.
        momentum: Discount of earlier steps.
        centered: Whether the squared mean gradient is subtracted.
        learning_rate: The greatest learning rate of the run.
        evaluation: Tuple with the learning rate of each step over the greatest.
        sparse_updates: `"lazy"` where rows without a gradient keep their state,
            `"dense"` where they decay.
        duplicate_indices: What happens to slices that share an index: `SUMMED`,
            `CLIPPED` or `SQUARED`.
        clipping: Tuple of `(argument, value)` in the order of application.
        weight_decay: Share of each variable that a step subtracts, times the
            learning rate.
    """

    initial_mean_square: float = _ingredient(
        "initial accumulator",
        "starts its mean square at {candidate} instead of {reference}",
        lambda value: f"{value:g}",
    )
    epsilon: float = _ingredient(
        "epsilon value", "has an epsilon of {candidate} instead of {reference}"
    )
    epsilon_inside_sqrt: bool = _ingredient(
        "epsilon placement",
        "adds epsilon {candidate} instead of {reference}",
        lambda inside: f"{'inside' if inside else 'outside'} the square root",
    )
    rho: float = _ingredient(
        "discount", "discounts its means by {candidate} instead of {reference}"
    )
    momentum: float = _ingredient(
        "momentum", "has a momentum of {candidate} instead of {reference}"
    )
    centered: bool = _ingredient(
        "centered", "has centered={candidate} instead of {reference}"
    )
    learning_rate: float = _ingredient(
        "learning rate",
        "has a learning rate of {candidate} instead of {reference}",
        lambda rate: f"{rate:.6g}",
    )
    evaluation: tuple = _ingredient(
        "learning-rate evaluation",
        "has a learning rate that is {candidate} instead of {reference}",
        _show_evaluation,
    )
    sparse_updates: str = _ingredient(
        "sparse updates", "has {candidate} instead of {reference} sparse updates"
    )
    duplicate_indices: str = _ingredient(
        "duplicate indices",
        "has the gradients of a repeated row {candidate}, instead of {reference}",
    )
    clipping: tuple = _ingredient(
        "clipping",
        "clips gradients by {candidate} instead of {reference}",
        _show_clipping,
    )
    weight_decay: float = _ingredient(
        "weight decay", "has a weight decay of {candidate} instead of {reference}"
    )

    def with_rates(self, rates):
        """Returns these ingredients with the learning rates that a run recorded."""
        greatest = max(rates)
        factors = tuple(rate / greatest if greatest else 1.0 for rate in rates)
        return dataclasses.replace(self, learning_rate=greatest, evaluation=factors)

    def rates(self):
        """Returns the learning rate of each step."""
        return [self.learning_rate * factor for factor in self.evaluation]

    def differing(self, other):
        """Returns the names of the fields in which two optimizers differ."""
        return [name for name in TITLES if getattr(self, name) != getattr(other, name)]

    def swapped(self, other, names):
        """Returns these ingredients with the named ones taken from `other`."""
        return dataclasses.replace(
            self, **{name: getattr(other, name) for name in names}
        )

    def show(self, name):
        """Returns the value of an ingredient as reports print it."""
        return SHOW[name](getattr(self, name))


TITLES = {f.name: f.metadata["title"] for f in dataclasses.fields(Ingredients)}
PHRASES = {
    f.metadata["title"]: f.metadata["phrase"] for f in dataclasses.fields(Ingredients)
}
SHOW = {f.name: f.metadata["show"] for f in dataclasses.fields(Ingredients)}
