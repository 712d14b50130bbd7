"""The Markdown pages of the documentation, and the code on them.

Code on a page runs from top to bottom, in one namespace and one empty folder. Readers
do not see what HTML comments say to the test:

- `<!-- setup`, then Python, `-->`: runs at this place;
- `<!-- not run: reason -->`: the next block is only parsed;
- `<!-- own process -->`: the page runs in a process of its own, because it changes
  TensorFlow for good.

A `text` block right after Python or a `console` block is what that prints, where `...`
stands for anything. In a `console` block lines with `$ ` are commands and the others
what they print. Commands in `bash` blocks are not run: they claim no output.
"""

import pathlib
import re
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = pathlib.Path(__file__).parents[2]
PAGES = sorted(
    [
        *(path for path in ROOT.glob("*.md")),
        *(path for path in ROOT.glob("docs/**/*.md")),
    ]
)


class Block(NamedTuple):
    """A piece of code on a page.

    Attributes:
        language: `"python"`, `"console"`, `"bash"`, `"text"` or another.
        code: Its text.
        line: Number of its first line on the page, from 1.
        not_run: Why it is only parsed, or None.
        output: What it prints, or None where the page does not say.
    """

    language: str
    code: str
    line: int
    not_run: str | None = None
    output: str | None = None


def name(path):
    """Returns a page's path as seen from the repository."""
    return path.relative_to(ROOT).as_posix()


def blocks(path):
    """Returns the blocks of a page, with hidden set-up as Python, in order."""
    found = []
    not_run = None
    follows = False
    for token in MarkdownIt().parse(path.read_text("utf-8")):
        if token.type == "html_block":
            comment = _comment(token.content)
            if comment.startswith("setup\n"):
                code = comment.removeprefix("setup\n") + "\n"
                found.append(Block("python", code, token.map[0] + 2))
            elif comment.startswith("not run:"):
                not_run = comment.removeprefix("not run:").strip()
        elif token.type == "fence":
            language = token.info.partition(" ")[0]
            if language == "text" and follows:
                found[-1] = found[-1]._replace(output=token.content)
            else:
                line = token.map[0] + 2
                found.append(Block(language, token.content, line, not_run))
            not_run = None
        follows = token.type == "fence" and language in ("python", "console")
    return found


def needs_own_process(path):
    """Whether a page changes TensorFlow for good."""
    return "<!-- own process -->" in path.read_text("utf-8")


def links(path):
    """Gives the targets of a page's links and pictures, without code."""
    for token in MarkdownIt().parse(path.read_text("utf-8")):
        if token.type == "html_block":
            yield from re.findall(r'(?:src|srcset|href)="([^"]+)"', token.content)
        for child in token.children or ():
            for attribute in ("href", "src"):
                if child.attrGet(attribute):
                    yield child.attrGet(attribute)


def _comment(html):
    text = html.strip()
    if not (text.startswith("<!--") and text.endswith("-->")):
        return ""
    return text[4:-3].strip()
