"""Text for terminals of 80 columns."""

import textwrap

WIDTH = 79


def filled(text, indent=""):
    """Returns a paragraph in lines, those after the first with an indent."""
    return textwrap.fill(
        text,
        WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def table(heads, rows, indent=""):
    """Yields the lines of a table. The widest column is wrapped where it has to be.

    Example:

    >>> print(*table(["name", "shape"], [["kernel", "(2, 3)"]]), sep="\\n")
    name    shape
    ------  ------
    kernel  (2, 3)
    """
    widths = [max(map(len, column)) for column in zip(heads, *rows)]
    excess = len(indent) + sum(widths) + 2 * (len(widths) - 1) - WIDTH
    if excess > 0:
        widest = widths.index(max(widths))
        widths[widest] = max(widths[widest] - excess, 12)
    for row in (heads, ["-" * width for width in widths], *rows):
        wrapped = [
            textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths)
        ]
        for i in range(max(map(len, wrapped))):
            cells = (
                (lines[i] if i < len(lines) else "").ljust(width)
                for lines, width in zip(wrapped, widths)
            )
            yield indent + "  ".join(cells).rstrip()
