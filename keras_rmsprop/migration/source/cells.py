"""Code as notebooks hold it: in cells, with magics and shell lines in between.

What is no Python is hidden, each line behind one that is, so that line numbers stay;
afterwards every line is put back as it was.
"""

import ast
import bisect
import io
import re
import warnings

from keras_rmsprop.migration.source import relevance
from keras_rmsprop.migration.source.mentions import mentions

_MAGIC = re.compile(r"\s*(?:[%!?]|[\w.*]+\?{1,2}\s*$|[\w., ()\[\]'\"]+=\s*[%!])")
# The cell magics below which there is Python.
_PYTHON_CELL = re.compile(r"%%(?:time|timeit|capture|prun|debug)\b")
_IMPORT = re.compile(r"(?:import|from) [^#;\\(]*$")
_LEXEME = re.compile(
    r"""
    \#[^\n]*
    | (\"\"\"|''')(?:\\.|(?!\1).)*\1
    | (?P<endless>\"\"\"|''')
    | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'
    | (?P<open>[(\[{])
    | (?P<close>[)\]}])
    """,
    re.VERBOSE | re.DOTALL,
)


class Program:
    """Python made of a file or of cells, and the way back.

    Args:
      texts: the text of each part.
      numbers: for the cells of a notebook their numbers, from 1; None for a file.

    Attributes:
      code: what can be parsed, as far as there is a way.
      unread: the lines behind which a mention of RMSProp is hidden from all, as
        lines of the text or of the joined texts.
    """

    def __init__(self, texts, numbers=None):
        self.unread = []
        self._label = _label(texts)
        self._hidden = []
        self._numbers = numbers
        self._starts = []
        if numbers is None:
            [text] = texts
            masked = text if parses(text) else self._masked(text, 1)
            if parses(masked):
                self.code = masked
            else:  # The parser is to say what it thinks of the text as it was.
                self.code, self.unread, self._hidden = text, [], []
        else:
            self.code = self._joined(texts)
        self.no_python = "\n".join(self._hidden)
        self._all, self._count = self.code, len(self._hidden)
        self._lines, self._relevance = None, None

    def hide_irrelevant(self):
        """Hides from `code` what seems to have nothing to do with an RMSProp.

        `needs` brings back what has.
        """
        tree = parsed(self.code) if mentions(self.code) else None
        if tree is not None:
            self._relevance = relevance.Relevance(tree)
            self._hide_again()

    def needs(self, bound, read):
        """Brings back what is hidden and has to do with some names.

        Args:
          bound: names of which it matters what binds them.
          read: names, attributes with a dot and strings with a quote before them, of
            which every occurrence matters.

        Returns:
          Whether anything was hidden that matters. `code` is another one then.
        """
        if self._relevance is None or not self._relevance.need(bound, read):
            return False
        self._hide_again()
        return True

    def place(self, line):
        """Returns where a line of `code` is in the text.

        Args:
          line: the line, from 1, or 0 for no line in particular.

        Returns:
          The number of the cell, 0 for a file, and the line in it.
        """
        return self.place_in_text(self._lines[line] if self._lines else line)

    def place_in_text(self, line):
        """Does what `place` does for a line of `unread`."""
        if self._numbers is None or not line:
            return 0, line
        index = bisect.bisect_right(self._starts, line) - 1
        return self._numbers[index], line - self._starts[index]

    def restored(self, code):
        """Returns changed code with all hidden lines back."""
        hidden = re.compile(rf"^[ \t]*(?:pass  )?# {self._label} (\d+)(?=\r?$)", re.M)
        return hidden.sub(lambda found: self._hidden[int(found[1])], code)

    def split(self, code):
        """Returns changed code as the list of its cells, as they were joined."""
        first, *pieces = re.split(rf"(?m)^# {self._label} cell (\d+)\n", code)
        numbers = [int(number) for number in pieces[::2]]
        if first or numbers != self._numbers:
            raise AssertionError("the bounds of cells moved")
        return [self.restored(piece.removesuffix("\n")) for piece in pieces[1::2]]

    def _hide_again(self):
        """Hides what is not needed so far, as one line each."""
        del self._hidden[self._count :]
        lines, kept, at = lines_of(self._all), [], 0
        self._lines = [0]
        for first, last in self._relevance.others():
            kept += lines[at : first - 1]
            self._lines += range(at + 1, first + 1)
            kept.append(self._hidden_as_one("".join(lines[first - 1 : last])))
            at = last
        kept += lines[at:]
        self._lines += range(at + 1, len(lines) + 2)
        self.code = "".join(kept)

    def _hidden_as_one(self, text):
        content = text.rstrip("\r\n")
        indent = content[: len(content) - len(content.lstrip(" \t"))]
        # There may be hidden lines in it.
        self._hidden.append(self.restored(content))
        mark = f"pass  # {self._label} {len(self._hidden) - 1}"
        return indent + mark + text[len(content) :]

    def _joined(self, texts):
        code, line = "", 1
        for number, text in zip(self._numbers, texts, strict=True):
            self._starts.append(line)
            if not parses(text):
                before = len(self._hidden), len(self.unread)
                masked = self._masked(text, line + 1)
                if not parses(masked):
                    del self._hidden[before[0] :], self.unread[before[1] :]
                    masked = self._imports_of(text, line + 1)
                text = masked
            code += f"# {self._label} cell {number}\n{text}\n"
            line += len(lines_of(text)) + 1 + (text.endswith("\n") or not text)
        return code

    def _masked(self, text, first):
        """The text with its magics and shell lines hidden."""
        lines = lines_of(text)
        if text.startswith("%%") and not _PYTHON_CELL.match(text):
            return "".join(self._hide(*each) for each in enumerate(lines, first))
        masked, begin, continued = [], 0, text.startswith("%%")
        for number, line in enumerate(lines, first):
            if continued:
                masked.append(self._hide(number, line))
            elif _MAGIC.match(line) and _is_complete("".join(masked[begin:])):
                masked.append(self._hide(number, line, statement=True))
                continued = True
            else:
                masked.append(line)
                continue
            begin = len(masked)
            continued = not line.startswith("%%") and line.rstrip().endswith("\\")
        return "".join(masked)

    def _imports_of(self, text, first):
        """The imports of what is no Python 3, for others to follow; else hidden."""
        return "".join(
            line if _IMPORT.match(line) and parses(line) else self._hide(number, line)
            for number, line in enumerate(lines_of(text), first)
        )

    def _hide(self, number, line, statement=False):
        content = line.rstrip("\r\n")
        if mentions(content):
            self.unread.append(number)
        self._hidden.append(content)
        indent = content[: len(content) - len(content.lstrip())] if statement else ""
        mark = f"# {self._label} {len(self._hidden) - 1}"
        return f"{indent}{'pass  ' * statement}{mark}{line[len(content) :]}"


def parses(code):
    """Whether a text is Python 3."""
    return parsed(code) is not None


def parsed(code):
    """Returns the `ast.Module` of a text, or None where it is no Python 3."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(code)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None


def lines_of(text):
    """Returns the lines with their ends, cut at line feeds and nowhere else."""
    return io.StringIO(text, newline="\n").readlines()


def _label(texts):
    """A word that occurs in none of the texts."""
    label = "hidden"
    while any(label in text for text in texts):
        label += "_"
    return label


def _is_complete(code):
    """Whether a statement could begin after this code."""
    depth = 0
    for found in _LEXEME.finditer(code):
        if found["endless"]:
            return False
        depth += bool(found["open"]) - bool(found["close"])
    return depth <= 0 and not code.rstrip("\r\n").endswith("\\")
