"""The picture of a comparison."""

import os
import textwrap

import numpy as np

from keras_rmsprop.migration.extras import INSTALL
from keras_rmsprop.migration.files import replacing

# Two lines that differ without colour, too.
_REFERENCE = {"color": "#0b57d0", "linestyle": "-", "linewidth": 1.6}
_CANDIDATE = {"color": "#b3541e", "linestyle": "--", "linewidth": 1.6}
_DIVERGENCE = {"color": "0.55", "linestyle": "-", "linewidth": 1.2}


def format_of(path):
    """Returns the format that the ending of a path names, PNG without one.

    Raises:
        ImportError: If matplotlib is not installed.
        ValueError: If it has no such format.
    """
    try:
        # Not pyplot, whose backend and list of open figures belong to the user.
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise ImportError(f"`plot` needs matplotlib: {INSTALL}.") from error

    ending = os.path.splitext(path)[1][1:].lower() or "png"
    known = sorted(FigureCanvasAgg.get_supported_filetypes())
    if ending not in known:
        raise ValueError(
            f"The ending of a picture must be one of {', '.join(known)}. "
            f"Received: path={str(path)!r}"
        )
    return ending


def draw(comparison, path):
    """Draws a comparison into a file: see `Comparison.plot`."""
    picture_format = format_of(path)
    figure = figure_of(comparison)
    with replacing(path) as file:
        figure.savefig(file, dpi=120, format=picture_format)


def figure_of(comparison):
    """Returns the picture as a matplotlib figure.

    Below each other: the divergence, what is left of it once each cause is taken away,
    and the losses, where there are any.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    causes = [cause for cause in comparison.causes if cause.remaining_by_step]
    has_losses = comparison.reference_loss is not None
    heights = [2.6, *[1.7] * len(causes), *[2.6] * has_losses]
    figure = Figure(figsize=(8, sum(heights) + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(textwrap.fill(comparison.summary, 90), fontsize="medium")
    panels = list(
        figure.subplots(
            len(heights), sharex=True, squeeze=False, height_ratios=heights
        )[:, 0]
    )
    _draw_divergence(panels[0], comparison)
    taken = []
    for axes, cause in zip(panels[1:], causes):
        taken.append(cause.name)
        _draw_remaining(axes, comparison, cause, taken)
    if has_losses:
        _draw_losses(panels[-1], comparison)
    for axes in panels:
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("step (batches trained on)" if has_losses else "step")
    panels[-1].set_xlim(0, comparison.steps[-1].step)
    _name_both(figure, comparison)
    return figure


def _draw_divergence(axes, comparison):
    steps = [step.step for step in comparison.steps]
    differences = np.array([step.max_abs_difference for step in comparison.steps])
    finite = np.isfinite(differences)
    axes.plot(
        steps,
        np.where(finite, differences, np.nan),
        **{**_DIVERGENCE, "color": "0.2"},
        marker=".",
        markersize=4,
        label="greatest difference of any element",
    )
    _scale(axes, comparison)
    _draw_allowed(axes, comparison, f"allowed at 0 (atol = {comparison.atol:g})")
    if comparison.first_divergence is not None:
        axes.axvline(
            comparison.first_divergence,
            color="0.2",
            linestyle="-.",
            linewidth=1,
            label=f"first divergence (step {comparison.first_divergence})",
        )
    if not finite.all():
        axes.axvspan(
            steps[int(np.argmin(finite))],
            steps[-1],
            facecolor="0.85",
            edgecolor="0.5",
            hatch="//",
            label="not both are finite",
        )
    axes.set_ylabel("|candidate - reference|\n(units of the variables)", fontsize=9)
    title = "How far the variables are apart" + (
        " (grey below)" if comparison.causes else ""
    )
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(fontsize="small", loc="best")


def _scale(axes, comparison):
    """Takes a logarithmic axis, the same in all panels, that has a place for zero."""
    shown = [comparison.atol, *(s.max_abs_difference for s in comparison.steps)]
    for cause in comparison.causes:
        shown += cause.remaining_by_step.values()
    shown = np.array([value for value in shown if 0 < value < np.inf] or [1.0])
    least, most = np.floor(np.log10(shown.min())), np.ceil(np.log10(shown.max()))
    axes.set_yscale("symlog", linthresh=10**least)
    axes.set_ylim(0, 2 * shown.max())
    # From the top, and not so many that they run into each other.
    decades = np.arange(most, least - 1, -max(1, np.ceil((most - least) / 5)))
    axes.set_yticks([0, *(10.0**decades)])
    axes.minorticks_off()


def _draw_allowed(axes, comparison, label=None):
    axes.axhline(
        comparison.atol, color="0.2", linestyle=":", linewidth=1.2, label=label
    )


def _draw_remaining(axes, comparison, cause, taken):
    """Draws what is left once this cause and those before it are taken away."""
    steps = [step.step for step in comparison.steps]
    axes.plot(steps, [s.max_abs_difference for s in comparison.steps], **_DIVERGENCE)
    left = cause.remaining_by_step
    axes.plot(
        list(left),
        list(left.values()),
        color="0.1",
        linewidth=1.2,
        marker="o",
        markersize=2.5,
        markevery=max(1, len(left) // 25),
    )
    _scale(axes, comparison)
    _draw_allowed(axes, comparison)
    swap = f"{cause.candidate} → {cause.reference}"
    what = "With" if len(taken) == 1 else "And with"
    title = (
        f"{what} the reference's {cause.name} ({swap}), at most "
        f"{cause.remaining:.3g} is left"
    )
    axes.set_title(textwrap.fill(title, 95), loc="left", fontsize=10)


def _draw_losses(axes, comparison):
    steps = [step.step for step in comparison.steps]
    for which, style in (("reference", _REFERENCE), ("candidate", _CANDIDATE)):
        losses = [getattr(step, f"{which}_loss") for step in comparison.steps]
        if None in losses:
            continue  # A recording without some, or what took its gradients.
        axes.plot(steps, losses, label=which, **style)
    axes.set_ylabel("loss of the step's batch", fontsize=9)
    is_recorded = comparison.candidate_loss is None
    title = "Recorded loss" if is_recorded else f"Loss on {comparison.workload}"
    axes.set_title(title, loc="left", fontsize=10)
    axes.legend(fontsize="small", loc="best")


def _name_both(figure, comparison):
    """Writes both calls below, where those of any length have room."""
    text = "\n".join(
        textwrap.fill(
            f"{which}: {getattr(comparison, which)}", 115, subsequent_indent="    "
        )
        for which in ("reference", "candidate")
    )
    figure.supxlabel(text, fontsize="small", x=0.02, ha="left")
