"""What a state does not tell of the optimizer that it comes from."""

# What no file ever holds, and those that are without effect for the others.
_NEVER_HELD = {
    "name",
    "use_locking",
    "gradient_aggregator",
    "gradient_transformers",
}
_OF_AVERAGES = {"ema_momentum", "ema_overwrite_frequency"}
# What every optimizer was made with, and every configuration says.
_ALWAYS_HELD = {
    "learning_rate",
    "rho",
    "momentum",
    "epsilon",
    "centered",
    "update_rule",
    "sparse_updates",
}


def arguments(state, api, given):
    """Returns the arguments that a state does not tell, and their usual values.

    Args:
        state: An `OptimizerState`.
        api: The API of its source, with `defaults` by own names and `renamed`, the
            common names by own names.
        given: Dictionary of what was given instead, by common names.

    Returns:
        A dictionary of the defaults of that API, `...` where it has none, by common
        names.
    """
    defaults = {api.renamed.get(name, name): v for name, v in api.defaults.items()}
    defaults = {"learning_rate": ..., **defaults}
    if state.kind == "keras" and state.update_rule is None:
        defaults.update(update_rule="keras", sparse_updates="dense")
    held = {api.renamed.get(name, name) for name in state.hyperparameters}
    told = told_by_slots(state)
    known = {*held, *told, *given, *_NEVER_HELD}
    # Whoever wrote a configuration wrote the name, or like Keras of 2017 `lr`; what
    # was left out of it then had no other value. No checkpoint holds either.
    if not state.hyperparameters.keys().isdisjoint(("name", "lr")):
        known |= defaults.keys() - _ALWAYS_HELD
    if not {**told, **given}.get("use_ema"):
        known |= _OF_AVERAGES
    return {name: usual for name, usual in defaults.items() if name not in known}


def told_by_slots(state):
    """Returns the arguments that follow from the slots, by common names."""
    slots = {slot for each in state.variables.values() for slot in each.slots}
    told = {"centered": "mg" in slots}
    if "momentum" not in slots:
        told["momentum"] = 0.0
    if state.kind not in ("tf1", "legacy"):
        told["use_ema"] = "average" in slots
        if "gradient_accumulator" not in slots:
            told["gradient_accumulation_steps"] = None
    return told


def question(state, target, asked):
    """Returns the text of an error that asks for arguments.

    Args:
        state: An `OptimizerState`.
        target: Name of the class that takes them.
        asked: Dictionary of usual values, `...` where there is none, by argument.
    """
    lines = [
        f"    {name}=...," + ("" if usual is ... else f"  # {usual!r} by default")
        for name, usual in asked.items()
    ]
    # What a reader could tell of them, such as the rate at the checkpoint's step.
    told = [f"- {text}" for text in state.not_read if text.split(":")[0] in asked]
    origin = f" of {state.origin}" if state.origin else ""
    return "\n".join(
        [
            f"The state{origin} does not hold {', '.join(asked)}, and {target} would "
            "take its own defaults. Give what the source was trained with, as keywords "
            "of this call:",
            *lines,
            *told,
        ]
    )
