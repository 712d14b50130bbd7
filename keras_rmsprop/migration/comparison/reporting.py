"""A comparison told in words: in a sentence, and at length."""

import math

from keras_rmsprop.migration.comparison.attribution import ROUNDING, UNEXPLAINED
from keras_rmsprop.migration.comparison.ingredients import PHRASES
from keras_rmsprop.migration.tables import filled, table


def summary(found):
    """Returns what came of a `Comparison`, in a sentence, or two."""
    same = found.port is None or found.port.agrees
    return _outcome(found) + ("" if same else " But the model is not the same.")


def _outcome(found):
    if found.first_divergence is None and found.unjudged:
        return "Both agree while values are recorded; after that, bits differ."
    if found.max_ulp == 0:
        return "Both train alike, to the bit."
    if found.equivalent:
        return f"Both train alike: at most {found.max_abs_difference:.3g} apart."
    swaps = _swaps(found)
    if swaps:
        return _attributed(found, swaps)
    if UNEXPLAINED in (cause.name for cause in found.causes):
        return "The two differ, and what makes them differ was not found."
    if not math.isfinite(found.max_abs_difference):
        return "Only one of both stays finite."
    return "Both compute the same; rounding alone makes them differ."


def _swaps(found):
    """Returns the causes that are a difference between ingredients."""
    return [cause for cause in found.causes if cause.reference is not None]


def _attributed(found, swaps):
    """Returns the sentence that names the causes of most of a divergence."""
    finite = (step.max_abs_difference for step in found.steps)
    divergence = max(filter(math.isfinite, finite))
    shares = [1 - cause.remaining / divergence for cause in swaps]
    # As few as explain more than half.
    count = next((i for i, share in enumerate(shares, 1) if share > 0.5), len(swaps))
    phrases = [
        PHRASES[cause.name].format(candidate=cause.candidate, reference=cause.reference)
        for cause in swaps[:count]
    ]
    percent = math.floor(100 * shares[count - 1])
    share = "" if count == len(swaps) else f"{percent} % of "
    text = (
        f"The candidate {_listed(phrases)}; {'together ' if count > 1 else ''}"
        f"that explains {share}the difference"
    )
    rest = [cause.name for cause in swaps[count:]]
    return f"{text}, and {_listed(rest)} the rest." if rest else f"{text}."


def _listed(texts):
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last


def report(found):
    """Returns a `Comparison` at length, in lines of 80 columns."""
    return "\n".join(_lines(found)) + "\n"


def _lines(found):
    yield filled(found.summary)
    yield ""
    yield "RMSProp trajectories " + (
        "are equivalent." if found.equivalent else "are not equivalent!"
    )
    yield ""
    told = {
        "reference": found.reference,
        "candidate": found.candidate,
        "trained": f"{len(found.steps)} steps on {found.workload}, {found.dtype}, "
        "from the same start",
        "remark": found.remark,
    }
    for name, text in told.items():
        if text:
            yield filled(f"{name + ':':10} {text}", " " * 11)
    if found.port:
        yield ""
        yield from map(filled, found.port.report())
    yield ""
    yield from _mismatch(found)
    yield ""
    yield from _variables(found)
    if found.causes:
        yield ""
        yield "Why:"
        yield from _why(found)
    if found.remedy:
        yield ""
        yield from _advice(found)


def _has_ulp(found):
    """Whether it means something to count the values between two elements.

    It does of rounding. Of two formulas it counts millions, and of elements on either
    side of zero all that there are.
    """
    rounding = all(cause.name == ROUNDING for cause in found.causes)
    return found.equivalent or (rounding and math.isfinite(found.max_abs_difference))


def _variables(found):
    heads = ["variable", "mismatched", "greatest difference", "at step", "ULP"]
    rows = [
        [
            figures.name,
            f"{figures.mismatched} / {figures.elements}",
            f"{figures.max_abs_difference:.3g}",
            str(figures.max_abs_step or "-"),
            str(figures.max_ulp),
        ]
        for figures in found.variables
    ]
    columns = len(heads) if _has_ulp(found) else len(heads) - 1
    return table(heads[:columns], [row[:columns] for row in rows])


def _mismatch(found):
    elements = sum(figures.elements for figures in found.variables)
    mismatched = sum(figures.mismatched for figures in found.variables)
    first = found.first_divergence
    yield (
        f"Mismatched elements: {mismatched} / {elements} "
        f"({100 * mismatched / elements:.1f}%)"
        + ("" if first is None else f", the first at step {first}")
    )
    if found.unjudged:
        yield filled(
            f"Not judged: the last {found.unjudged} steps. The recording holds no "
            "values there, and its checksums say that bits differ"
        )
    if found.max_ulp == 0:
        yield "Greatest difference: none, equal to the bit (0 ULP)"
    else:
        yield from _worst(found)
        if _has_ulp(found):
            yield (
                f"Greatest distance: {found.max_ulp} ULP (representable values between)"
            )
    losses = [
        f"{loss:.6g} with the {which}"
        for which in ("reference", "candidate")
        if (loss := getattr(found, f"{which}_loss")) is not None
    ]
    if losses:
        yield f"Final loss: {', '.join(losses)}"


def _worst(found):
    for kind, allowed in (("absolute", found.atol), ("relative", found.rtol)):
        short = f"max_{kind[:3]}"
        worst = max(found.variables, key=lambda f: getattr(f, f"{short}_difference"))
        yield (
            f"Greatest {kind} difference: "
            f"{getattr(worst, f'{short}_difference'):.6g} (up to {allowed:g} allowed),"
        )
        yield (
            f"  in {worst.name!r} at index {getattr(worst, f'{short}_index')}, "
            f"step {getattr(worst, f'{short}_step')}"
        )


def _why(found):
    swaps = _swaps(found)
    if swaps:
        yield "  Swapped in the candidate, one at a time, for the reference's:"
        rows = [
            [
                cause.name,
                f"{cause.candidate} -> {cause.reference}",
                f"{cause.remaining_alone:.3g}",
                f"{cause.remaining:.3g}",
            ]
            for cause in swaps
        ]
        heads = ["ingredient", "swap", "alone leaves", "with those above"]
        rows.insert(0, ["(nothing)", "", "", f"{found.max_abs_difference:.3g}"])
        yield from table(heads, rows, indent="  ")
    for cause in found.causes:
        if cause.note:
            yield filled(f"  {cause.name}: {cause.note}", "    ")
        elif cause.name == ROUNDING:
            what = "what remains" if swaps else "what differs"
            yield f"  {cause.name}: {what}, up to {cause.remaining:.3g}, is rounding"


def _advice(found):
    remedy = found.remedy
    measured = f"differs from the reference by {remedy.max_abs_difference:.3g} at most"
    if remedy.equivalent:
        yield f"To make them equal, use\n\n{remedy.code}\n"
        yield filled(f"which {measured} ({remedy.max_ulp} ULP) in the same training.")
    else:
        yield filled(f"None of our optimizers does the same: {remedy.call} {measured}.")
        yield filled(f"To make them equal, use the reference itself, {found.reference}")
