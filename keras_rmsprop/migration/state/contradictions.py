"""What in a state and in an optimizer cannot both be true of one training run."""

import numpy as np

from keras_rmsprop.migration.state.naming import listed

# Arguments by which an optimizer may contradict the one that a state comes from. A
# learning rate is no contradiction: it changes during training.
_COMPARED = (
    "rho",
    "momentum",
    "epsilon",
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
    "sparse_updates",
)
# What `apply_to` may be told to allow.
ALLOWED = (*_COMPARED, "centered", "update_rule", "nan", "negative")


def checked(allow):
    """Returns what `allow` names, a set.

    Raises:
        ValueError: If it names anything else.
    """
    names = (allow,) if isinstance(allow, str) else tuple(allow)
    for name in names:
        if name not in ALLOWED:
            raise ValueError(
                f"`allow` must name what may differ, of {', '.join(ALLOWED)}. "
                f"Received: allow={allow!r}"
            )
    return set(names)


def find(state, target, slots, allowed):
    """Returns what the optimizer contradicts of the source, in words.

    Args:
        state: An `OptimizerState`.
        target: Adapter of the optimizer.
        slots: Dictionaries of arrays by slot, by name of the variable.
        allowed: Set of what may differ.
    """
    missing, extra, unread = _slots(state, target, slots, allowed)
    problems = [
        f"missing: the optimizer has a slot {slot!r} and the source none, for "
        f"{listed(names)}"
        for slot, names in missing.items()
    ]
    for slot, names in extra.items():
        problems.append(
            f"left over: the source has a slot {slot!r} and the optimizer none, for "
            f"{listed(names)}"
        )
        if slot == "momentum":
            problems[-1] += (
                ". It may only be dropped if the source's momentum was 0; set "
                "`state.hyperparameters['momentum'] = 0` if it was"
            )
    differing = _hyperparameters(state, target)
    if unread and "momentum" not in state.hyperparameters:
        problems.append(
            "momentum: the optimizer's is 0, the source does not tell its own, and "
            f"its slots 'momentum' are not zero, for {listed(unread)}; set "
            "`state.hyperparameters['momentum']` to what it was"
        )
    for name, (was, will_be) in differing.items():
        # A slot that one side lacks says it already.
        if name not in (*allowed, *missing, *extra):
            problems.append(
                f"{name}: the source trained with {was!r}, and the optimizer has "
                f"{will_be!r}; allow=[{name!r}] lets them differ"
            )
    return problems


def _slots(state, target, slots, allowed):
    """Returns the names of variables by the slot that one side lacks.

    Returns:
        Two dictionaries: what the source lacks, and what the optimizer lacks; and the
        names for which an optimizer of momentum 0 would hold a momentum.
    """
    wanted = target.wanted_slots()
    # With momentum 0 the slot holds the last step, which no later one reads.
    is_zero = target.momentum() == 0
    was_zero = state.hyperparameters.get("momentum") == 0
    missing, extra, unread = {}, {}, []
    for name, held in slots.items():
        for slot in wanted:
            may_start = slot == "momentum" and (is_zero or slot in allowed)
            if slot not in held and not may_start:
                missing.setdefault(slot, []).append(name)
        for slot, value in held.items():
            if {"mg": "centered"}.get(slot, slot) in allowed:
                continue
            is_read = slot != "momentum" or not (was_zero or not np.any(value))
            if slot not in wanted and is_read:
                extra.setdefault(slot, []).append(name)
            elif slot == "momentum" and is_read and is_zero:
                unread.append(name)
    return missing, extra, unread


def _hyperparameters(state, target):
    """Returns pairs of what differs in source and optimizer, by common name."""
    was = by_common_names(state.kind, state.hyperparameters)
    will_be = by_common_names(target.kind, target.hyperparameters())
    names = [name for name in _COMPARED if name in was and name in will_be]
    if not (was.get("use_ema") and will_be.get("use_ema")):
        # Defaults differ, and do nothing.
        names = [name for name in names if not name.startswith("ema_")]
    pairs = {name: (was[name], will_be[name]) for name in names}
    if state.update_rule is not None:
        pairs["update_rule"] = (state.update_rule, target.update_rule)
    return {name: pair for name, pair in pairs.items() if not _is_same(name, *pair)}


def by_common_names(kind, hyperparameters):
    """Returns hyperparameters of an API by the names of `ALLOWED`."""
    if kind == "tf1" and "decay" in hyperparameters:
        return {**hyperparameters, "rho": hyperparameters["decay"]}
    return hyperparameters


def _is_same(name, was, will_be):
    if name == "epsilon" and None in (was, will_be):
        # Keras' own then, which only the program knew.
        return True
    if isinstance(was, float) and isinstance(will_be, float):
        # A checkpoint holds them in float32.
        with np.errstate(over="ignore"):
            return np.float32(was) == np.float32(will_be)
    return was == will_be or not (was or will_be)


def of_numbers(what, slot, array, allowed):
    """Returns what an array holds that no healthy run does, in words, or None.

    Args:
        what: The array in words.
        slot: Name of the slot, or `"value"`.
        array: The array.
        allowed: Set of what is allowed.
    """
    if "nan" not in allowed and np.any(np.isnan(array)):
        return f"nan: {what} has elements that are NaN; allow=['nan'] takes them"
    is_real = not np.issubdtype(array.dtype, np.complexfloating)
    if slot == "rms" and is_real and "negative" not in allowed and np.any(array < 0):
        return (
            f"negative: {what} is a mean of squares and has negative elements; "
            "allow=['negative'] takes them"
        )
    return None
