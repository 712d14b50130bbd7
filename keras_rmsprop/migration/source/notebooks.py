"""Jupyter notebooks: the sources of code cells change, and no other byte."""

import dataclasses
import difflib
import json
import re

from keras_rmsprop.migration.source import cells, findings
from keras_rmsprop.migration.source.upgrade import upgrade_program

_SPACE = re.compile(r"[ \t\r\n]*")
_decode = json.JSONDecoder(strict=False).raw_decode


def program_of(text):
    """Returns the `cells.Program` of a notebook.

    Args:
      text: the notebook's JSON, a str.

    Raises:
      ValueError: it is no notebook in Python.
    """
    return _program(_sources_in_python(text))


def upgrade_notebook(text, options, elsewhere=None):
    """Rewrites the uses of RMSProp in the code cells of a notebook.

    Args:
      text: the notebook's JSON, a str.
      options: an `Options`.
      elsewhere: as in `upgrade_program`.

    Returns:
      An `Upgrade` whose codes are JSON and whose findings name cells, counted from
      1 over cells of all kinds. What is no notebook in Python comes back as it is,
      with a "not handled" finding.
    """
    try:
        sources = _sources_in_python(text)
    except ValueError as error:
        return findings.not_handled(text, str(error))
    program = _program(sources)
    upgrade = upgrade_program(program, options, elsewhere=elsewhere)
    after = text
    if upgrade.changed:
        changes = zip(sources, program.split(upgrade.code), strict=True)
        for source, new in reversed(list(changes)):
            if new != source.text:
                after = source.replaced(after, new)
    return dataclasses.replace(upgrade, before=text, code=after)


def _program(sources):
    texts = [source.text for source in sources]
    return cells.Program(texts, [source.cell for source in sources])


def _sources_in_python(text):
    try:
        sources = _sources(text)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise ValueError(f"no notebook that can be read: {error}") from error
    language = _language(text)
    if language not in ("", "python", "ipython"):
        raise ValueError(f"a notebook in {language}")
    return sources


class _Source:
    """The source of one cell, and where in the JSON text it stands.

    Args:
      json_text: the notebook.
      cell: the number of the cell.
      start: the index at which the value begins.
    """

    def __init__(self, json_text, cell, start):
        self.cell = cell
        value, self._end = _decode(json_text, start)
        self._start = start
        # A source is a string, or a list of its lines.
        self._lines = [] if isinstance(value, str) else list(_items(json_text, start))
        self.text = "".join(value)

    def replaced(self, json_text, new):
        """Returns the notebook with another source, laid out as this one."""
        ascii_only = json_text.isascii()
        if not self._lines:
            after = _encode(new, ascii_only)
        else:
            after = self._replaced_lines(json_text, cells.lines_of(new), ascii_only)
        return json_text[: self._start] + after + json_text[self._end :]

    def _replaced_lines(self, json_text, new, ascii_only):
        spans = self._lines
        old = [_decode(json_text, start)[0] for start, _ in spans]
        raw = [json_text[start:end] for start, end in spans]
        begin = json_text[self._start : spans[0][0]]
        end = json_text[spans[-1][1] : self._end]
        if len(spans) > 1:
            between = json_text[spans[0][1] : spans[1][0]]
        elif "\n" in begin:
            between = "," + begin[1:]
        else:
            between = ", " if '", "' in json_text else ","
        kept = difflib.SequenceMatcher(None, old, new, autojunk=False)
        encoded = [_encode(line, ascii_only) for line in new]
        for block in kept.get_matching_blocks():
            encoded[block.b : block.b + block.size] = raw[
                block.a : block.a + block.size
            ]
        return begin + between.join(encoded) + end


def _encode(value, ascii_only):
    return json.dumps(value, ensure_ascii=ascii_only)


def _sources(text):
    """The sources of all code cells, in their order."""
    sources = []
    for number, start in enumerate(_starts_of_cells(text), 1):
        members = dict(_members(text, start))
        if _decode(text, members["cell_type"])[0] == "code":
            key = "source" if "source" in members else "input"
            sources.append(_Source(text, number, members[key]))
    return sources


def _starts_of_cells(text):
    notebook = dict(_members(text, _SPACE.match(text).end()))
    if "cells" in notebook:
        sheets = [notebook]
    else:  # As it was before version 4 of the format.
        worksheets = _items(text, notebook["worksheets"])
        sheets = [dict(_members(text, start)) for start, _ in worksheets]
    for sheet in sheets:
        for start, _ in _items(text, sheet["cells"]):
            yield start


def _language(text):
    """The language that a notebook says it is in, or an empty string."""
    metadata = json.loads(text, strict=False).get("metadata", {})
    for holder, key in (("language_info", "name"), ("kernelspec", "language")):
        if isinstance(metadata.get(holder), dict) and key in metadata[holder]:
            return str(metadata[holder][key]).lower()
    return ""


def _members(text, start):
    """Yields the keys of a JSON object, with where their values begin."""
    for begin, end in _parts(text, start, "{}"):
        key, after = json.decoder.scanstring(text, begin + 1, False)
        colon = _SPACE.match(text, after).end()
        if text[colon] != ":":
            raise ValueError(f"no ':' at character {colon}")
        yield key, _SPACE.match(text, colon + 1, end).end()


def _items(text, start):
    """Yields where the items of a JSON array begin and end."""
    return _parts(text, start, "[]")


def _parts(text, start, brackets):
    """Yields where the parts between the commas of a JSON value begin and end."""
    if text[start] != brackets[0]:
        raise ValueError(f"no {brackets[0]!r} at character {start}")
    at = _SPACE.match(text, start + 1).end()
    while text[at] != brackets[1]:
        begin = at
        _, at = _decode(text, at)
        if brackets == "{}":
            at = _SPACE.match(text, at).end() + 1
            _, at = _decode(text, _SPACE.match(text, at).end())
        yield begin, at
        at = _SPACE.match(text, at).end()
        if text[at] == ",":
            at = _SPACE.match(text, at + 1).end()
        elif text[at] != brackets[1]:
            raise ValueError(f"no ',' at character {at}")
