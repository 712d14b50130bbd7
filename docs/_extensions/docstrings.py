"""Docstrings written as plain text, as reStructuredText.

`help()` shows docstrings as they are, and so they are written: formulas and code are
indented or fenced, without the marks that reStructuredText wants.
"""

import re

_FIELD = re.compile(r"[A-Z][a-z]+:$")


def setup(app):
    # Before napoleon turns sections into fields.
    app.connect("autodoc-process-docstring", _mark_code, priority=400)
    return {"parallel_read_safe": True}


def _mark_code(app, what, name, obj, options, lines):
    lines[:] = marked(lines)
    if what in ("attribute", "property") and ":" in "".join(lines[:1]):
        # Napoleon takes what stands before the first colon for a type.
        lines[0] = ":" + lines[0]


def marked(lines):
    """Returns lines in which each indented or fenced block is marked as code."""
    out = []
    fenced = code = False
    indent = 0
    for i, line in enumerate(lines):
        if line.strip().startswith("```"):
            fenced = not fenced
            out.extend([".. code-block:: none", ""] if fenced else [""])
            continue
        if fenced:
            out.append("    " + line)
            continue
        depth = len(line) - len(line.lstrip())
        if line.strip():
            if code and depth <= indent:
                code = False
            elif not code and _starts_block(lines, i, depth):
                code, indent = True, _depth_before(lines, i)
                out.extend([" " * indent + "::", ""])
        out.append(line)
    return out


def _starts_block(lines, i, depth):
    if i < 2 or lines[i - 1].strip():
        return False
    before = next((text for text in reversed(lines[:i]) if text.strip()), "")
    deeper = depth >= len(before) - len(before.lstrip()) + 4
    is_list = before.lstrip().startswith(("- ", "-   ", "* "))
    section = _FIELD.match(before.strip())
    return deeper and not is_list and not section and not before.endswith("::")


def _depth_before(lines, i):
    before = next(text for text in reversed(lines[:i]) if text.strip())
    return len(before) - len(before.lstrip())
