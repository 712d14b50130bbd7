"""What the figures mean: verdicts, tables, JSON and the picture."""

import dataclasses
import importlib.metadata
import json
import math
import operator
import os
import pathlib
import platform
import statistics
import subprocess

from peers import CORES, KERAS, OURS, PEERS
from works import native_kernels

_MEASURES = {
    "ratio": operator.truediv,
    "difference": operator.sub,
    "flatness": operator.truediv,
}
_WORDING = {
    "ratio": "{ours} / {peer}",
    "difference": "{ours} - {peer}",
    "flatness": "slowest / fastest",
}
_JUDGEMENTS = {True: "holds", False: "MISSED", None: "not judged"}
_UNITS = {
    "s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "B": ((1e6, "MB"),),
    "slots": ((1.0, ""),),
}
_PACKAGES = (
    "tensorflow",
    "keras",
    "tf_keras",
    "torch",
    "jax",
    "jaxlib",
    "optax",
    "numpy",
)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a target holds.

    Attributes:
        row: Name of the row.
        title: What was measured.
        text: What is compared, such as `"keras_rmsprop / torch"`.
        kind: `"ratio"`, `"difference"` or `"flatness"`.
        measured: The median of the figures of single repetitions; like both others
            None where it would be the ratio to a figure that is not positive.
        low: The least figure of a single repetition.
        high: The greatest.
        at_most: What the target allows; None where it only compares.
        holds: Whether it does; None where that is not judged, as at sizes that are
            not the target's.
    """

    row: str
    title: str
    text: str
    kind: str
    measured: float | None
    low: float | None
    high: float | None
    at_most: float | None
    holds: bool | None

    def judgement(self):
        """Returns the verdict as a word."""
        return _JUDGEMENTS[self.holds]


def judge(result, full):
    """Holds a result against its targets.

    Args:
        result: A `works.Result`.
        full: Whether the sizes are those of the targets.

    Returns:
        A list of `Verdict`; targets whose peer was not measured give none.
    """
    verdicts = []
    for target in result.targets:
        if target.peer is None:
            ordered = sorted(result.figures.values(), key=lambda held: -held.median)
            compared = ordered[:1] + ordered[1:][-1:]
        else:
            compared = [
                result.figures[name]
                for name in (target.ours, target.peer)
                if name in result.figures
            ]
        if len(compared) < 2:
            continue
        single = _by_repetition(target.kind, *compared)
        measured = statistics.median(single) if single else None
        judged = full and None not in (measured, target.bound)
        words = {"ours": _label(target.ours), "peer": _label(target.peer)}
        verdicts.append(
            Verdict(
                row=result.name,
                title=result.title,
                text=_WORDING[target.kind].format(**words),
                kind=target.kind,
                measured=measured,
                low=min(single, default=None),
                high=max(single, default=None),
                at_most=target.bound,
                holds=measured <= target.bound if judged else None,
            )
        )
    return verdicts


def _by_repetition(kind, figure, other):
    """Returns what is measured in each repetition, or nothing if a ratio has none."""
    if kind != "difference" and min(other.samples) <= 0:
        return []
    return [
        _MEASURES[kind](*taken)
        for taken in zip(figure.samples, other.samples, strict=True)
    ]


def _times_stock(figure, result):
    """Returns a figure in multiples of stock Keras 3, or None."""
    if KERAS not in result.figures:
        return None
    single = _by_repetition("ratio", figure, result.figures[KERAS])
    return statistics.median(single) if single else None


def machine(devices, load):
    """Describes the machine and what is installed.

    Args:
        devices: Dictionary from library to the names of the devices it uses.
        load: The load average when the program started.
    """
    return {
        "cpu": _cpu(),
        "cores": CORES,
        "memory": f"{_memory() / 2**30:.0f} GiB",
        "devices": devices,
        "os": platform.platform(),
        "load": load,
        "python": platform.python_version(),
        "keras_rmsprop": _library(),
        "native kernels": "in use" if native_kernels() else "none",
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _library():
    """Returns version and, in a git tree, commit of what is measured."""
    if PEERS[OURS].missing():
        return {"version": None, "commit": None}
    import keras_rmsprop

    try:
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=pathlib.Path(keras_rmsprop.__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # No git, or no git tree.
        commit = None
    return {"version": keras_rmsprop.__version__, "commit": commit}


def _cpu():
    known = pathlib.Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.processor() or platform.machine()


def _memory():
    if not hasattr(os, "sysconf"):
        return math.nan
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _label(program):
    if isinstance(program, int):
        return f"{program:,} rows"
    return PEERS[program].label if program in PEERS else program


def _called(program, variant):
    return _label(program) + (f" ({variant})" if variant else "")


def _amount(value, unit):
    scale, name = next(
        ((scale, name) for scale, name in _UNITS[unit] if abs(value) >= scale),
        _UNITS[unit][-1],
    )
    return f"{value / scale:.3g} {name}".strip()


def _figures_table(result):
    """Returns the head of a result's table, and the cells of each program."""
    stock = KERAS in result.figures
    head = ["program", "median", "spread"] + ["x stock Keras 3"] * stock
    lines = []
    for program, figure in result.figures.items():
        low, high = (_amount(pick(figure.samples), result.unit) for pick in (min, max))
        label = _called(program, figure.variant)
        cells = [label, _amount(figure.median, result.unit), f"{low} to {high}"]
        if stock:
            cells.append(_number(_times_stock(figure, result)))
        lines.append(cells)
    return head, lines


_VERDICT_HEAD = ["row", "compared", "measured", "spread", "at most", "target"]


def _number(figure):
    return "-" if figure is None else f"{figure:.3f}"


def _bound(verdict):
    if verdict.at_most is None:
        return "-"
    unit = " s" if verdict.kind == "difference" else ""
    return f"{verdict.at_most:g}{unit}"


def _verdict_lines(verdicts):
    return [
        [
            verdict.row,
            verdict.text,
            _number(verdict.measured),
            f"{_number(verdict.low)} to {_number(verdict.high)}",
            _bound(verdict),
            verdict.judgement(),
        ]
        for verdict in verdicts
    ]


def _columns(head, lines):
    """Returns lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(head, *lines)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
        for line in (head, *lines)
    ]


def opening(report):
    """Returns what the reader should know before the figures."""
    devices = [
        f"{library} {', '.join(used)}"
        for library, used in report.machine["devices"].items()
    ]
    return "\n".join(
        [
            f"load: {report.machine['load']:.2f}",
            f"devices: {'; '.join(devices)}",
            *(f"WARNING: {warning}" for warning in report.warnings),
            *(
                f"left out: {_label(name)}, {reason}"
                for name, reason in report.left_out.items()
            ),
        ]
    )


def text(result):
    """Returns a result as a table for the terminal."""
    table = _columns(*_figures_table(result))
    return "\n".join([f"{result.name}: {result.title}", *map("  {}".format, table)])


def failure_text(failure):
    """Returns a `works.Failure` as a sentence."""
    called = _called(failure.program, failure.variant)
    return f"{failure.row}: left out {called}, {failure.reason}"


def verdict_text(verdicts):
    """Returns the verdicts as a table for the terminal."""
    return "\n".join(_columns(_VERDICT_HEAD, _verdict_lines(verdicts)))


def markdown(report):
    """Returns a whole report in Markdown.

    Args:
        report: `Report`.
    """
    described = report.machine
    library = described["keras_rmsprop"]
    packages = [
        f"{name} {number}" for name, number in described["packages"].items() if number
    ]
    devices = [
        f"{name} on {', '.join(used)}" for name, used in described["devices"].items()
    ]
    parts = [
        f"Native kernels: {described['native kernels']}. "
        f"Measured on {described['cores']} cores of {described['cpu']}, "
        f"{described['memory']}, {described['os']}, Python {described['python']}; "
        f"{', '.join(packages)}; {', '.join(devices)}.",
        f"keras_rmsprop {library['version']}, commit {library['commit']}.",
        *(f"Warning: {warning}." for warning in report.warnings),
        *(f"Left out: {_label(name)}, {why}." for name, why in report.left_out.items()),
    ]
    if report.verdicts:
        parts += ["### Targets", _table(_VERDICT_HEAD, _verdict_lines(report.verdicts))]
    if report.failures:
        parts += ["### Failures"]
        parts += ["\n".join(f"- {failure_text(held)}" for held in report.failures)]
    for result in report.results:
        parts += [
            f"### {result.name}",
            f"{result.title[0].upper()}{result.title[1:]}.",
            _table(*_figures_table(result)),
        ]
    return "\n\n".join(parts) + "\n"


def _table(head, lines):
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@dataclasses.dataclass
class Report:
    """All that a run found.

    Attributes:
        machine: What `machine` returned.
        options: Dictionary of the options of the run.
        warnings: What may spoil the figures.
        left_out: Dictionary from peers that were not measured to the reason.
        results: List of `works.Result`.
        failures: List of `works.Failure`.
        verdicts: List of `Verdict`.
    """

    machine: dict
    options: dict
    warnings: list
    left_out: dict
    results: list = dataclasses.field(default_factory=list)
    failures: list = dataclasses.field(default_factory=list)
    verdicts: list = dataclasses.field(default_factory=list)

    def to_json(self):
        """Returns the report as JSON."""
        held = {
            "machine": self.machine,
            "options": self.options,
            "warnings": self.warnings,
            "left_out": self.left_out,
            "failures": [dataclasses.asdict(failure) for failure in self.failures],
            "rows": [
                {
                    "name": result.name,
                    "title": result.title,
                    "unit": result.unit,
                    "programs": {
                        program: {
                            "label": _label(program),
                            "variant": figure.variant,
                            "median": figure.median,
                            "min": min(figure.samples),
                            "max": max(figure.samples),
                            "samples": figure.samples,
                        }
                        for program, figure in result.figures.items()
                    },
                }
                for result in self.results
            ],
            "targets": [dataclasses.asdict(verdict) for verdict in self.verdicts],
        }
        return json.dumps(held, indent=1)


# The files.


def check_outputs(paths):
    """Refuses files that cannot be written, before anything is measured.

    Args:
        paths: Dictionary from option to the path that it was given.

    Raises:
        ValueError: If one cannot be written, or is given twice, or a picture cannot
            be drawn; it names option, value and what is allowed.
    """
    seen = {}
    for option, value in paths.items():
        path = pathlib.Path(value).resolve()
        wrong = (
            f"the same file as --{seen[path]}"
            if path in seen
            else "a folder; a file is needed"
            if path.is_dir()
            else f"there is no folder {path.parent}"
            if not path.parent.is_dir()
            else _undrawable(path)
            if option == "plot"
            else None
        )
        if wrong:
            raise ValueError(f"--{option}={value}: {wrong}")
        seen[path] = option
    for path, option in seen.items():
        try:
            path.open("a").close()
        except OSError as error:
            raise ValueError(
                f"--{option}={paths[option]}: must be writable: {error.strerror}"
            ) from error


def write(report, paths):
    """Writes a report.

    Args:
        report: `Report`.
        paths: Dictionary from `"json"`, `"markdown"` or `"plot"` to a path.
    """
    for option, path in paths.items():
        if option == "plot":
            draw(report, path)
        else:
            shown = report.to_json() if option == "json" else markdown(report)
            pathlib.Path(path).write_text(shown, "utf-8")


def _undrawable(path):
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        return f"needs matplotlib: {error}"
    kinds = FigureCanvasAgg.get_supported_filetypes()
    if path.suffix[1:].lower() in kinds:
        return None
    return f"the name must end in one of {', '.join(f'.{kind}' for kind in kinds)}"


# The picture.

_STYLES = {
    "ours": dict(color="tab:red", marker="o"),
    "ours-legacy": dict(color="tab:red", marker="s"),
    "ours-tf1": dict(color="tab:red", marker="^"),
    "keras": dict(color="black", marker="o"),
    "keras-jit": dict(color="black", marker="x"),
    "tf_keras": dict(color="tab:blue", marker="s"),
    "tf1": dict(color="tab:blue", marker="^"),
    "torch": dict(color="tab:orange", marker="D"),
    "optax": dict(color="tab:green", marker="v"),
    "nothing": dict(color="tab:gray", marker="o"),
    "limit": dict(color="tab:gray", marker="|"),
}
_COLORS = {True: "tab:green", False: "tab:red", None: "tab:gray"}
_CURVES = 12  # The height of the curves, in lines.


def draw(report, path):
    """Draws all rows against stock Keras 3, all targets, and growth by rows.

    Args:
        report: `Report`.
        path: File to write.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    compared = [
        result
        for result in report.results
        if _times_stock(result.figures.get(KERAS), result)
    ]
    bounded = [
        held for held in report.verdicts if None not in (held.measured, held.at_most)
    ]
    growing = [
        result
        for result in report.results
        if all(isinstance(program, int) for program in result.figures)
    ]
    panels = [
        (draw_panel, drawn, height)
        for draw_panel, drawn, height in (
            (_draw_rows, compared, len(compared)),
            (_draw_targets, bounded, len(bounded)),
            (_draw_growth, growing, _CURVES),
        )
        if drawn
    ] or [(_draw_nothing, [], 1)]
    heights = [height + 6 for _, _, height in panels]
    figure = Figure(figsize=(12, 0.3 * sum(heights)), layout="constrained")
    FigureCanvasAgg(figure)
    described = report.machine
    figure.suptitle(
        f"{described['cores']} cores of {described['cpu']}, {described['os']}, "
        f"native kernels: {described['native kernels']}",
        fontsize="medium",
    )
    axes = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for panel, (draw_panel, drawn, _) in zip(axes, panels):
        panel.grid(alpha=0.3)
        panel.set_axisbelow(True)
        draw_panel(panel, drawn)
    figure.savefig(path, dpi=110)


def _draw_nothing(axes, _):
    axes.set_title("Nothing was compared")


def _name_lines(axes, names):
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _beside(axes, **options):
    axes.legend(
        fontsize="small", loc="center left", bbox_to_anchor=(1.0, 0.5), **options
    )


def _draw_rows(axes, results):
    for height, (program, style) in enumerate(reversed(_STYLES.items())):
        points = [
            (_times_stock(result.figures[program], result), line)
            for line, result in enumerate(results)
            if program in result.figures
        ]
        # A logarithmic axis has no place for memory that is less than none.
        points = [(times, line) for times, line in points if times and times > 0]
        if points:
            style = dict(label=_label(program), s=45, alpha=0.8, zorder=height) | style
            axes.scatter(*zip(*points), **style)
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("times stock Keras 3 (further left is faster or smaller)")
    axes.set_title("Medians of all programs")
    _name_lines(axes, [result.name for result in results])
    _beside(axes, reverse=True)


def _draw_targets(axes, verdicts):
    for holds, word in _JUDGEMENTS.items():
        lines = [line for line, held in enumerate(verdicts) if held.holds is holds]
        if lines:
            shown = [verdicts[line] for line in lines]
            shares = [held.measured / held.at_most for held in shown]
            spreads = [
                (
                    (held.measured - held.low) / held.at_most,
                    (held.high - held.measured) / held.at_most,
                )
                for held in shown
            ]
            axes.barh(
                lines,
                shares,
                label=word,
                color=_COLORS[holds],
                alpha=0.7,
                xerr=list(zip(*spreads)),
                error_kw=dict(linewidth=0.8, capsize=2),
            )
    for line, verdict in enumerate(verdicts):
        axes.annotate(
            f"{verdict.measured:.3g} of {_bound(verdict)}",
            (1.01, line),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize="small",
        )
    for bound in (0.0, 1.0):
        axes.axvline(bound, color="black", linewidth=0.8)
    least, greatest = axes.get_xlim()
    axes.set_xlim(max(least, -1.0), min(greatest, 4.0))
    axes.set_xlabel(
        "measured / allowed (up to 1 holds, less than 0 is a negative difference); "
        "the thin line is the spread"
    )
    axes.set_title("Targets")
    _name_lines(axes, [f"{verdict.row}: {verdict.text}" for verdict in verdicts])
    axes.legend(fontsize="small", loc="lower right")


def _draw_growth(axes, results):
    for result in results:
        heights = list(result.figures)
        medians = [figure.median * 1e3 for figure in result.figures.values()]
        axes.plot(heights, medians, marker="o", label=result.name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    least, greatest = axes.get_ylim()
    axes.set_ylim(least / 3, greatest * 3)  # Else noise would fill the height.
    axes.set_xlabel("rows of the table")
    axes.set_ylabel("ms for each sparse step")
    axes.set_title("Growth with the table")
    _beside(axes)
