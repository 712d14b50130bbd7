"""Names of variables: their parts, their counters, and which are alike."""

import collections
import difflib
import re

_COUNTER = re.compile(r"(.+)_([0-9]+)")
# How many lines of a name_map are printed, and how many names are compared for one.
_LINES = 20
_COMPARED = 200


def bare(name):
    """Returns a name without the number of an output, `:0`."""
    return name.removesuffix(":0")


def stems(parts):
    """Returns the parts of a name without counters.

    Example:

    >>> stems(["dense_1", "kernel"])
    ('dense', 'kernel')
    """
    return tuple(_COUNTER.sub(r"\1", part) for part in parts)


def listed(names, most=3):
    """Returns names as a text that stays short, however many they are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def near(name, names):
    """Returns what names there are near one, as the end of a sentence."""
    names = [bare(each) for each in names]
    found = difflib.get_close_matches(bare(name), names[:_COMPARED], n=3)
    return f"; there are {listed(found or names)}" if names else "; there are none"


class Side:
    """The variables of a model, or those of a source.

    Attributes:
        names: Their names.
        parts: The parts of each name, a tuple.
        stems: The same without counters.
        keys: What has to agree: whether it is trained, and the shape.
        places: The place of each in the order of the model, as far as that is known.
        open: Dictionary with the indices of those that are not paired yet.
    """

    def __init__(self, rows):
        """Takes a list of `(is_trained, name, shape)`."""
        self.names = [bare(name) for _, name, _ in rows]
        self.parts = [tuple(name.split("/")) for name in self.names]
        self.stems = [stems(parts) for parts in self.parts]
        self.keys = [(is_trained, tuple(shape)) for is_trained, _, shape in rows]
        self.open = dict.fromkeys(range(len(rows)))
        self.places = self._places()
        self._called = self.by_key(self.open, self.names)

    def _places(self):
        places = {}
        for is_trained in (True, False):
            indices = [i for i in self.open if self.keys[i][0] == is_trained]
            names = [self.names[i] for i in indices]
            if names == sorted(names):
                # In the order of letters, in which dense_10 comes before dense_2, as
                # a checkpoint without its graph lists them.
                indices.sort(key=lambda i: [_counted(part) for part in self.parts[i]])
            places.update(zip(indices, range(len(indices))))
        return places

    def depth(self):
        return max(map(len, self.parts), default=0)

    def counted(self):
        """Returns the stems of all parts that have a counter."""
        return {
            stem
            for pair in zip(self.parts, self.stems)
            for part, stem in zip(*pair)
            if part != stem
        }

    def called(self, name):
        """Returns the indices of what has a name."""
        return self._called.get(bare(name), [])

    def by_key(self, indices, keys=None):
        """Returns lists of indices by what has to agree."""
        groups = collections.defaultdict(list)
        for i in indices:
            groups[(keys or self.keys)[i]].append(i)
        return groups

    def ending(self, attribute, index, length):
        """Returns the last parts of a name.

        Args:
            attribute: `"parts"` or `"stems"`.
            index: Whose name.
            length: How many parts; None for all of them.
        """
        parts = getattr(self, attribute)[index]
        return parts if length is None else parts[max(0, len(parts) - length) :]

    def by_ending(self, attribute, length, indices):
        """Returns lists of indices by `(is_trained, ending)`, of names so long."""
        groups = collections.defaultdict(list)
        for i in indices:
            if length is None or len(self.parts[i]) >= length:
                ending = self.ending(attribute, i, length)
                groups[self.keys[i][0], ending].append(i)
        return groups

    def described(self, index):
        return f"{self.names[index]!r} of shape {self.keys[index][1]}"


def _counted(part):
    match = _COUNTER.fullmatch(part)
    return (match[1], int(match[2])) if match else (part, -1)


def guess(target, source):
    """Returns likely pairs of what is open: by like names, and then in order.

    Args:
        target: `Side` of the model.
        source: `Side` of the source.

    Returns:
        A dictionary of indices into the source by indices into the model.
    """
    targets = dict(target.open)
    sources = dict.fromkeys(sorted(source.open, key=source.places.__getitem__))
    found = {}
    for length in (*range(max(target.depth(), source.depth()), 0, -1), 0):
        groups = collections.defaultdict(lambda: ([], []))
        for place, (side, indices) in enumerate(((target, targets), (source, sources))):
            for i in indices:
                groups[side.keys[i], side.ending("stems", i, length)][place].append(i)
        for ours, theirs in groups.values():
            # Where one side has more, each of those that follow might be off by one.
            if len(ours) == len(theirs) or not length:
                for t, s in zip(ours, theirs):
                    found[t] = s
                    del targets[t], sources[s]
    return dict(sorted(found.items()))


def advice(target, source, guessed, names):
    """Returns a guess as a `name_map` to paste, or an empty text if there is none.

    Args:
        target: `Side` of the model.
        source: `Side` of the source.
        guessed: What `guess` returned.
        names: Expression for the list of the names of the trained variables.
    """
    if not guessed:
        return ""
    head = "A `name_map` to paste, guessed from names and order; check each line:\n"
    in_order = all(t == s for t, s in guessed.items())
    is_all = len(guessed) == sum(is_trained for is_trained, _ in target.keys)
    if len(guessed) > _LINES and in_order and is_all:
        return f"{head}name_map=dict(zip({names}, state.variables))"
    alike = source.by_key(list(guessed.values())[:_COMPARED])
    lines = []
    for t, s in list(guessed.items())[:_LINES]:
        others = [source.names[o] for o in alike[source.keys[s]] if o != s]
        others = difflib.get_close_matches(target.names[t], others, n=2, cutoff=0)
        hint = f"  # or {listed(others)}" if others else ""
        lines.append(f"    {target.names[t]!r}: {source.names[s]!r},{hint}\n")
    if len(guessed) > _LINES:
        lines.append(f"    # and {len(guessed) - _LINES} more\n")
    return f"{head}name_map={{\n{''.join(lines)}}}"
