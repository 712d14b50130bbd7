"""Which part of a state belongs to which variable: certain, or asked for.

A name that a counter made (`dense_1`) says how many were made before it in that
program, and nothing about the model. Names and shapes are believed only where they
leave one way to pair everything.
"""

import collections
import dataclasses

import numpy as np

from keras_rmsprop.migration.state import naming
from keras_rmsprop.migration.state.naming import listed


@dataclasses.dataclass
class Matches:
    """What belongs together.

    Attributes:
        names: Dictionary of names in the state by index of the variable.
        problems: What is ambiguous, missing or left over, in words.
        unused: Names of untrained variables in the state that no variable goes with.
        advice: Likely pairs of what is still open, as a `name_map` to paste.
    """

    names: dict
    problems: list
    unused: list
    advice: str


def match(trained, untrained, state, name_map=None, names="..."):
    """Finds the part of a state that belongs to each variable.

    Args:
        trained: List of `(name, shape)` of the variables that need slots.
        untrained: The same of those that only have values.
        state: An `OptimizerState`.
        name_map: Dictionary of names in the state by names of variables, or None.
        names: Python for the list of the names of the trained, for messages.

    Returns:
        `Matches`, with indices into `trained + untrained`.

    Example:

    >>> import numpy as np
    >>> from keras_rmsprop.migration.state import OptimizerState, VariableState
    >>> held = VariableState({"rms": np.ones(2)})
    >>> found = match([("model/b", (2,)), ("model/a", (2,))], [],
    ...               OptimizerState({"a": held, "b": held}))
    >>> found.names
    {0: 'b', 1: 'a'}
    """
    target = naming.Side(
        [(True, *each) for each in trained] + [(False, *each) for each in untrained]
    )
    source = naming.Side(
        [(True, name, each.shape) for name, each in state.variables.items()]
        + [(False, name, np.shape(value)) for name, value in state.others.items()]
    )
    stored = [*state.variables, *state.others]
    matching = _Matching(target, source)
    matching.run(dict(name_map or {}), state.is_positional)
    return Matches(
        {t: stored[s] for t, s in matching.pairs.items()},
        matching.problems,
        [stored[s] for s in source.open if not source.keys[s][0]],
        naming.advice(target, source, naming.guess(target, source), names),
    )


class _Matching:
    """Pairs of indices `(t, s)`, of a variable and of what the source holds."""

    def __init__(self, target, source):
        self.target, self.source = target, source
        self.pairs, self.problems = {}, []
        # What has a number somewhere was counted everywhere: the first has none.
        self.counted = target.counted() | source.counted()
        self.lengths = [None, *range(max(target.depth(), source.depth()), 0, -1)]

    def run(self, name_map, is_positional):
        self._by_map(name_map)
        # The rules look at all that the map does not settle, not at what is left
        # over by another rule: what one leaves over may be left over by mistake.
        self.targets, self.sources = list(self.target.open), list(self.source.open)
        if is_positional and not name_map:
            self._by_position()
        self._by_explicit_names()
        self._by_unique_shapes()
        self._by_counted_names()
        self._by_siblings()
        self._report()

    def _pair(self, t, s):
        del self.target.open[t], self.source.open[s]
        (is_trained, wanted), (has_slots, held) = (
            self.target.keys[t],
            self.source.keys[s],
        )
        name, stored = self.target.names[t], self.source.names[s]
        if wanted != held:
            self.problems.append(
                f"shape: variable {name!r} has shape {wanted}, the state of {stored!r} "
                f"has {held}"
            )
        elif is_trained != has_slots:
            words = ("is not trained", "is trained")
            self.problems.append(
                f"trained: variable {name!r} {words[is_trained]}, and {stored!r} "
                f"{words[has_slots]} in the source"
            )
        else:
            self.pairs[t] = s

    def _is_open(self, t, s):
        return t in self.target.open and s in self.source.open

    def _by_map(self, name_map):
        for path, name in name_map.items():
            found = [t for t in self.target.called(path) if t in self.target.open]
            held = [s for s in self.source.called(name) if s in self.source.open]
            if len(found) != 1:
                near = naming.near(path, self.target.names)
                self.problems.append(
                    f"name_map: {path!r} names {len(found)} of the variables{near}"
                )
            elif len(held) != 1:
                near = naming.near(
                    name, [self.source.names[s] for s in self.source.open]
                )
                self.problems.append(
                    f"name_map: {name!r} names {len(held)} of the states left{near}"
                )
            else:
                self._pair(found[0], held[0])

    def _by_position(self):
        targets = [t for t in self.targets if self.target.keys[t][0]]
        sources = [s for s in self.sources if self.source.keys[s][0]]
        if len(targets) == len(sources):
            for t, s in zip(targets, sources):
                self._pair(t, s)
            return
        self.problems.append(
            f"positions: the source has {len(sources)} trained variables, without "
            f"names, and there are {len(targets)}"
        )
        # There is nothing else to pair them by.
        for t in targets:
            del self.target.open[t]
        for s in sources:
            del self.source.open[s]

    def _by_explicit_names(self):
        """Pairs what ends alike, in names that no counter made, and alone does."""
        # Of a single part (`kernel`) shapes know more.
        for length in self.lengths[:-1]:
            held = self.source.by_ending("parts", length, self.sources)
            for ending, found in self.target.by_ending(
                "parts", length, self.targets
            ).items():
                pair = (*found, *held.get(ending, ()))
                if (
                    (len(found), len(pair)) == (1, 2)
                    and not self.counted.intersection(naming.stems(ending[1]))
                    and self._is_open(*pair)
                ):
                    self._pair(*pair)

    def _by_unique_shapes(self):
        held = self.source.by_key(self.sources)
        for key, found in self.target.by_key(self.targets).items():
            pair = (*found, *held.get(key, ()))
            if (len(found), len(pair)) == (1, 2) and self._is_open(*pair):
                self._pair(*pair)

    def _by_counted_names(self):
        """Pairs what has equal names but for counters, where these leave no choice."""
        for length in self.lengths:
            held = self.source.by_ending("stems", length, self.sources)
            for ending, found in self.target.by_ending(
                "stems", length, self.targets
            ).items():
                for t, s in self._group(found, held.get(ending, ()), length):
                    if t in self.target.open:
                        self._pair(t, s)

    def _group(self, found, held, length):
        """Returns the pairs of two groups that differ in counters, or none.

        One of each is a pair. Of more, both sides must have the same counters, in the
        same order: otherwise they were counted in different ways.
        """
        by_name = {self.source.ending("parts", s, length): s for s in held}
        names = [self.target.ending("parts", t, length) for t in found]
        if len(found) == len(held) == 1:
            pairs = [(found[0], held[0])]
        elif len(names) == len(held) == len(by_name) and set(names) == set(by_name):
            pairs = [(t, by_name[name]) for t, name in zip(found, names)]
        else:
            return []
        fits = all(
            self.target.keys[t] == self.source.keys[s]
            and (self.pairs.get(t) == s or self._is_open(t, s))
            for t, s in pairs
        )
        return pairs if fits and self._keeps_order(pairs) else []

    def _keeps_order(self, pairs):
        """Whether variables of one shape come in the order of the source."""
        last = {}
        for t, s in pairs:
            key, place = self.target.keys[t], self.source.places[s]
            if place < last.get(key, place):
                return False
            last[key] = place
        return True

    def _by_siblings(self):
        """Pairs what has one name, in scopes that are one by the pairs so far."""
        ours, theirs = collections.defaultdict(set), collections.defaultdict(set)
        for t, s in self.pairs.items():
            here, there = self.target.parts[t][:-1], self.source.parts[s][:-1]
            ours[here].add(there)
            theirs[there].add(here)
        for t in list(self.target.open):
            *scope, name = self.target.parts[t]
            scopes = ours.get(tuple(scope), ())
            if len(scopes) != 1 or len(theirs[next(iter(scopes))]) != 1:
                continue
            held = self.source.called("/".join((*next(iter(scopes)), name)))
            if (
                len(held) == len(self.target.called(self.target.names[t])) == 1
                and not self.counted.intersection(naming.stems([name]))
                and self.target.keys[t] == self.source.keys[held[0]]
                and self._is_open(t, held[0])
            ):
                self._pair(t, held[0])

    def _report(self):
        held = self.source.by_key(self.source.open)
        for t in self.target.open:
            choices = [self.source.names[s] for s in held.get(self.target.keys[t], ())]
            variable = f"variable {self.target.described(t)}"
            if choices:
                self.problems.append(
                    f"ambiguous: {variable} could go with {listed(choices)}; decide "
                    "with `name_map`"
                )
            elif self.target.keys[t][0]:
                self.problems.append(f"missing: there is no state for {variable}")
            else:
                self.problems.append(
                    f"missing: there is no value of the untrained {variable}; give the "
                    "list of the trained variables instead of the model if it shall "
                    "keep its own"
                )
        asked = {self.target.keys[t] for t in self.target.open}
        for s in self.source.open:
            if self.source.keys[s][0] and self.source.keys[s] not in asked:
                self.problems.append(
                    "left over: there is no variable for the state of "
                    f"{self.source.described(s)}"
                )
        for name in self.source.names:
            if len(self.source.called(name)) > 1:
                self.problems.append(
                    f"name: the source has several that are named {name!r}"
                )
        open_names = collections.Counter(self.target.names[t] for t in self.target.open)
        for name, count in open_names.items():
            if count > 1:
                self.problems.append(
                    f"name: {count} variables are named {name!r}, so that no name can "
                    "tell them apart"
                )
