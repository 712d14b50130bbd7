"""What an upgrade has to say, line by line."""

import dataclasses

REWRITTEN = "rewritten"
ASSUMED = "assumed"
NOTE = "note"
LEFT_ALONE = "left alone"
NOT_HANDLED = "not handled"
VERIFIED = "verified"
DIFFERS = "differs"
NOT_VERIFIED = "not verified"

_TITLES = {
    REWRITTEN: "Rewritten",
    ASSUMED: "Assumptions to check",
    NOTE: "Notes",
    LEFT_ALONE: "Left alone: decide by hand",
    NOT_HANDLED: "Files not handled",
    DIFFERS: "Rewritten, and found to train otherwise",
    VERIFIED: "Verified by training",
    NOT_VERIFIED: "Not verified",
}
# So many places are listed where one line speaks of more.
_LISTED = 5


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
    """One remark about one line of a file.

    Attributes:
      line: the line, from 1; 0 where the remark is about the whole file.
      kind: one of "rewritten", "assumed", "note", "left alone", "not handled"; after
        a verification also "verified", "differs", "not verified".
      message: what was done, or why nothing was.
      cell: the cell of a notebook in which the line is, from 1; 0 elsewhere.

    Example:

    >>> Finding(3, "left alone", "a subclass").at("model.py")
    'model.py:3: left alone: a subclass'
    >>> Finding(3, "left alone", "a subclass", cell=7).at("model.ipynb")
    'model.ipynb:cell 7:3: left alone: a subclass'
    """

    line: int
    kind: str
    message: str
    cell: int = 0

    def place(self, path):
        """Returns where it is, as `path:line`, or `path:cell number:line`."""
        cell = f":cell {self.cell}" if self.cell else ""
        return f"{path}{cell}:{self.line}" if self.line else f"{path}{cell}"

    def at(self, path):
        """Returns the finding as `path:line: kind: message`."""
        return f"{self.place(path)}: {self.kind}: {self.message}"


def at_place(place, kind, message):
    """Returns a `Finding` at a pair of a cell, or 0, and a line."""
    cell, line = place
    return Finding(line, kind, message, cell)


@dataclasses.dataclass(frozen=True, order=True)
class Rewrite:
    """One construction of an optimizer that is another one now.

    Attributes:
      cell: the cell of a notebook, from 1; 0 elsewhere.
      line: the line, from 1.
      era: the generation it was taken for, a constant of `names`.
      before: the call, or one that says the same.
      after: the call in its place.
    """

    cell: int
    line: int
    era: str
    before: str
    after: str


@dataclasses.dataclass(frozen=True)
class Upgrade:
    """The outcome for one piece of source code.

    Attributes:
      before: the code as it was.
      code: the code as it should be; equal to `before` where nothing changes.
      findings: a tuple of `Finding`, by line.
      rewrites: a tuple of `Rewrite`, by line.
    """

    before: str
    code: str
    findings: tuple = ()
    rewrites: tuple = ()

    @property
    def changed(self):
        return self.code != self.before


def summed_up(found):
    """Returns findings in order, those as one that assume or note the same.

    Args:
      found: `Finding`s of one file.

    Returns:
      A tuple of `Finding`.

    Example:

    >>> for each in summed_up([Finding(line, NOTE, "so") for line in range(1, 9)]):
    ...     print(each.at("a.py"))
    a.py:1: note: so (7 more: lines 2, 3, 4, 5, 6, ...)
    """
    result, alike = [], {}
    for finding in sorted(found, key=lambda each: (each.cell, each)):
        if finding.kind in (ASSUMED, NOTE):
            alike.setdefault((finding.kind, finding.message), []).append(finding)
        else:
            result.append(finding)
    for first, *others in alike.values():
        if others:
            places = [
                f"{each.cell}:{each.line}"[2 * (not each.cell) :] for each in others
            ]
            what = "cells" if first.cell else "lines"
            listed = ", ".join([*places[:_LISTED], *["..."] * (len(places) > _LISTED)])
            message = f"{first.message} ({len(others)} more: {what} {listed})"
            first = dataclasses.replace(first, message=message)
        result.append(first)
    return tuple(sorted(result, key=lambda each: (each.cell, each)))


def not_handled(text, reason):
    """Returns the `Upgrade` of a text that stays as it is, and why it does."""
    return Upgrade(text, text, (Finding(0, NOT_HANDLED, reason),))


def markdown(findings_by_path):
    """Returns a report in Markdown.

    Args:
      findings_by_path: a mapping from a path to its findings.

    Returns:
      The report: a count of each kind, then the findings under a title each.

    Example:

    >>> finding = Finding(3, "rewritten", "`a` to `b`")
    >>> print(markdown({"model.py": [finding]}))
    # RMSProp upgrade
    <BLANKLINE>
    - Rewritten: 1
    <BLANKLINE>
    ## Rewritten
    <BLANKLINE>
    - `model.py:3`: `a` to `b`
    <BLANKLINE>
    """
    by_kind = {
        kind: [
            (finding.place(path), finding.message)
            for path, findings in findings_by_path.items()
            for finding in findings
            if finding.kind == kind
        ]
        for kind in _TITLES
    }
    by_kind = {kind: entries for kind, entries in by_kind.items() if entries}
    lines = ["# RMSProp upgrade", ""]
    if not by_kind:
        lines += ["Nothing to say: no use of RMSProp was found.", ""]
    lines += [f"- {_TITLES[kind]}: {len(found)}" for kind, found in by_kind.items()]
    for kind, entries in by_kind.items():
        lines += ["", f"## {_TITLES[kind]}", ""]
        lines += [f"- `{place}`: {message}" for place, message in entries]
    return "\n".join(lines) + "\n"
