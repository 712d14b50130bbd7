"""The picture of a comparison."""

import os
import textwrap

import numpy as np

from keras_rmsprop.migration.extras import INSTALL
from keras_rmsprop.migration.files import replacing


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
    """Draws the divergence per step and the loss curves there are into a file."""
    picture_format = format_of(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    if comparison.reference_loss is None:
        axes = figure.subplots()
        _draw_divergence(axes, comparison)
        axes.set_xlabel("step")
    else:
        above, below = figure.subplots(2, sharex=True)
        _draw_divergence(above, comparison)
        _draw_losses(below, comparison)
    with replacing(path) as file:
        figure.savefig(file, dpi=120, format=picture_format)


def _draw_divergence(axes, comparison):
    steps = [step.step for step in comparison.steps]
    differences = np.array([step.max_abs_difference for step in comparison.steps])
    finite = np.isfinite(differences)
    axes.plot(
        steps,
        np.where(finite, differences, np.nan),
        color="tab:red",
        marker=".",
        markersize=3,
        label="greatest difference of any element",
    )
    shown = np.append(differences[finite], comparison.atol)
    least = np.min(shown[shown > 0], initial=1.0)
    # Linear below the least of them, so that zeros have a place.
    axes.set_yscale("symlog", linthresh=10 ** np.floor(np.log10(least)))
    axes.axhline(
        comparison.atol,
        color="tab:gray",
        linestyle="--",
        label=f"allowed at 0 (atol = {comparison.atol:g})",
    )
    if comparison.first_divergence is not None:
        axes.axvline(
            comparison.first_divergence,
            color="black",
            linestyle=":",
            label=f"first divergence (step {comparison.first_divergence})",
        )
    if not finite.all():
        axes.axvspan(
            np.argmin(finite) + 1,
            steps[-1],
            color="tab:red",
            alpha=0.2,
            label="not both are finite",
        )
    axes.set_ylim(bottom=0)
    axes.set_ylabel("|candidate - reference|\n(units of the variables)")
    axes.set_title("Divergence of the variables")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _draw_losses(axes, comparison):
    steps = [step.step for step in comparison.steps]
    for which, style in (("reference", "-"), ("candidate", "--")):
        losses = [getattr(step, f"{which}_loss") for step in comparison.steps]
        if None in losses:
            continue  # A recording without some, or what took its gradients.
        label = textwrap.fill(f"{which}: {getattr(comparison, which)}", 100)
        axes.plot(steps, losses, style, label=label)
    axes.set_xlim(0, steps[-1])
    axes.set_xlabel("step (batches trained on)")
    axes.set_ylabel("loss on the step's batch")
    is_recorded = comparison.candidate_loss is None
    axes.set_title("Recorded loss" if is_recorded else f"Loss on {comparison.workload}")
    axes.grid(alpha=0.3)
    # Below, where calls of any length have room.
    axes.legend(
        fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.2), frameon=False
    )
