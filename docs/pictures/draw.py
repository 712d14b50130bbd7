"""Draws the pictures of the documentation from the tables beside it.

Each is drawn twice, for light and for dark pages. They are told apart by shape as well
as by colour, so that they can be read in grey. From the root of the repository:

    python docs/pictures/draw.py
"""

import html
import json
import math
import pathlib

FOLDER = pathlib.Path(__file__).parent
THEMES = {
    "light": {"text": "#1f2328", "faint": "#59636e", "grid": "#d1d9e0",
              "ours": "#0b57d0", "theirs": "#b3541e", "remedy": "#0b57d0"},
    "dark": {"text": "#f0f6fc", "faint": "#b1bac4", "grid": "#3d444d",
             "ours": "#7cb3ff", "theirs": "#f0a35e", "remedy": "#7cb3ff"},
}  # fmt: skip
WIDTH = 640


class Canvas:
    """A picture in the making: SVG elements under a title that is read aloud."""

    def __init__(self, height, title, colours):
        self.height = height
        self.colours = colours
        self._lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
            'role="img" font-family="system-ui, sans-serif" font-size="17">',
            f"<title>{html.escape(title)}</title>",
        ]

    def text(self, x, y, words, colour="text", anchor="start", **style):
        self._add("text", x=x, y=y, fill=colour, text_anchor=anchor, **style)
        self._lines[-1] = self._lines[-1][:-2] + f">{html.escape(words)}</text>"

    def line(self, x1, y1, x2, y2, colour="grid", width=1, **style):
        self._add(
            "line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width,
            **style,
        )  # fmt: skip

    def path(self, points, colour, width, **style):
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._add(
            "polyline", points=places, stroke=colour, stroke_width=width, fill="none",
            **style,
        )  # fmt: skip

    def circle(self, x, y, colour):
        self._add("circle", cx=x, cy=y, r=8, fill=colour)

    def ring(self, x, y, colour):
        self._add("circle", cx=x, cy=y, r=7, fill="none", stroke=colour, stroke_width=2)

    def diamond(self, x, y, colour):
        corners = f"{x:.1f},{y - 8} {x + 8:.1f},{y} {x:.1f},{y + 8} {x - 8:.1f},{y}"
        self._add("polygon", points=corners, fill="none", stroke=colour, stroke_width=2)

    def tick(self, x, y, colour):
        self.line(x, y - 10, x, y + 10, colour, 4)

    def svg(self):
        return "\n".join([*self._lines, "</svg>", ""])

    def _add(self, element, **attributes):
        parts = [element]
        for name, value in attributes.items():
            if isinstance(value, float):
                value = f"{value:.1f}"
            value = self.colours.get(value, value)
            parts.append(f'{name.replace("_", "-")}="{value}"')
        self._lines.append(f"<{' '.join(parts)}/>")


def divergence(table, colours):
    """Returns the losses of one training with three optimizers."""
    last = len(table["tf1"])
    top = max(table["tf1"])
    left, right, upper, lower = 44, 470, 52, 300
    canvas = Canvas(
        350,
        f"Loss over {last} steps. Keras 3's RMSprop in place of TF1's falls to "
        f"{table['keras'][-1]:.2f} where TF1's comes to {table['tf1'][-1]:.2f}. With "
        "update_rule=tf1 the curve is TF1's.",
        colours,
    )

    def place(step, loss):
        x = left + (right - left) * (step - 1) / (last - 1)
        return x, lower - (lower - upper) * loss / 2.5

    canvas.text(left - 34, 26, "Same model, data and arguments; other RMSProp",
                font_weight="600")  # fmt: skip
    for loss in (0, 1, 2):
        y = place(1, loss)[1]
        canvas.line(left, y, right, y)
        canvas.text(left - 10, y + 6, str(loss), "faint", "end")
    canvas.text(left + 4, place(1, top)[1] - 12, "loss", "faint")
    for step in (1, 25, 50, 75, last):
        canvas.text(place(step, 0)[0], lower + 24, str(step), "faint", "middle")
    canvas.text(place(50, 0)[0], lower + 46, "step", "faint", "middle")
    curves = {
        name: [place(i + 1, loss) for i, loss in enumerate(table[name])]
        for name in ("tf1", "keras", "remedy")
    }
    canvas.path(curves["keras"], "theirs", 2)
    canvas.path(curves["tf1"], "text", 6, stroke_opacity="0.35")
    canvas.path(curves["remedy"], "remedy", 2.5, stroke_dasharray="7 5")
    end = right + 12
    canvas.text(end, curves["tf1"][-1][1] - 26, "TF1's (broad)", "text")
    canvas.text(end, curves["tf1"][-1][1] - 4, "update_rule=", "remedy")
    canvas.text(end, curves["tf1"][-1][1] + 16, '"tf1" (dashed):', "remedy")
    canvas.text(end, curves["tf1"][-1][1] + 36, "the same bits", "remedy")
    canvas.text(end, curves["keras"][-1][1] + 2, "Keras 3's (thin)", "theirs")
    return canvas.svg()


def speed(table, colours):
    """Returns the times of ours, the best other program and the limit."""
    works = table["works"]
    left, right, upper, pitch = 20, 460, 146, 66
    canvas = Canvas(
        upper + pitch * len(works) + 36,
        "Time of a step or epoch as a share of stock Keras 3: "
        + "; ".join(f"{w['work']}: {said(w['ours'])}" for w in works),
        colours,
    )

    def place(ratio):
        least, most = math.log(0.0015), math.log(1.5)
        return left + (right - left) * (math.log(ratio) - least) / (most - least)

    canvas.text(left, 26, "Time, as a share of stock Keras 3 (log scale)",
                font_weight="600")  # fmt: skip
    canvas.circle(left + 8, 54, "ours")
    canvas.text(left + 24, 60, "ours, with native kernels", "ours")
    canvas.ring(left + 268, 54, "ours")
    canvas.text(left + 284, 60, "without them", "ours")
    canvas.diamond(left + 8, 82, "theirs")
    canvas.text(left + 24, 88, "best other program", "theirs")
    canvas.tick(left + 268, 82, "faint")
    canvas.text(left + 284, 88, "limit, where there is one", "faint")
    bottom = upper + pitch * len(works) - 28
    for ratio in (0.01, 0.1, 1):
        x = place(ratio)
        canvas.line(x, upper - 28, x, bottom, width=2 if ratio == 1 else 1)
        name = "stock Keras 3" if ratio == 1 else f"{ratio:g}"
        canvas.text(x, bottom + 22, name, "faint", "middle")
    for row, work in enumerate(works):
        y = upper + pitch * row
        canvas.text(left, y - 8, work["work"])
        y += 14
        canvas.line(left, y, right, y)
        if work["limit"]:
            canvas.tick(place(work["limit"][1]), y, "faint")
        canvas.diamond(place(work["peer"][1]), y, "theirs")
        canvas.ring(place(work["without_kernels"]), y, "ours")
        canvas.circle(place(work["ours"]), y, "ours")
        canvas.text(right + 16, y + 6, said(work["ours"]), "ours", font_weight="600")
    return canvas.svg()


def said(ratio):
    """Returns a ratio of times in words."""
    return (
        "about the same" if ratio > 0.9 else f"{float(f'{1 / ratio:.2g}'):g} x faster"
    )


def pictures():
    """Returns the text of each picture by its file name."""
    drawn = {}
    for draw in (divergence, speed):
        table = json.loads((FOLDER / f"{draw.__name__}.json").read_text("utf-8"))
        for theme, colours in THEMES.items():
            drawn[f"{draw.__name__}-{theme}.svg"] = draw(table, colours)
    return drawn


if __name__ == "__main__":
    for name, text in pictures().items():
        (FOLDER / name).write_text(text, "utf-8")
