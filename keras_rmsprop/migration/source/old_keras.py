"""What the two old Keras classes have in common: `lr` and `decay`."""

import libcst as cst

from keras_rmsprop.migration.source import source_file

CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")


def check_for_modern(construction, arguments):
    """Raises Undecided where a Keras 3 optimizer cannot take the arguments."""
    clipping = [name for name in CLIPPING if name in arguments]
    if len(clipping) > 1:
        raise source_file.Undecided(
            f"Keras 3 takes only one of {' and '.join(f'`{n}`' for n in clipping)}"
        )
    if "lr" in arguments and "learning_rate" in arguments:
        raise source_file.Undecided("both `lr` and `learning_rate` are given")
    rate = arguments.value("lr") or arguments.value("learning_rate")
    if rate is not None and construction.is_tensor(rate):
        raise source_file.Undecided(
            "its learning rate is a tensor or variable, which a Keras 3 optimizer does "
            "not take: give it a number, or keep it by `--to compat`"
        )
    if _has_decay(arguments):
        if rate is not None and construction.is_computed(rate):
            raise source_file.Undecided(
                "its learning rate is computed and decays too: "
                "make one learning-rate schedule of both"
            )
        construction.needs_import("keras")
        setter = construction.first_use_of("LearningRateScheduler", "ReduceLROnPlateau")
        if setter:
            construction.note(
                f"`decay` becomes a schedule, which {setter} cannot set: leave `decay` "
                "out, or let the one schedule do both"
            )


def modernize_learning_rate(arguments):
    """Renames `lr` and makes `decay`, per update, a schedule."""
    arguments.rename("lr", "learning_rate")
    if not _has_decay(arguments):
        arguments.drop("decay")
        return
    if "learning_rate" not in arguments:
        arguments.add("learning_rate", "0.001")
    schedule = cst.parse_expression(
        "keras.optimizers.schedules.InverseTimeDecay("
        "initial_learning_rate=0.001, decay_steps=1, decay_rate=0.0)"
    )
    initial, steps, rate = schedule.args
    schedule = schedule.with_changes(
        args=[
            initial.with_changes(value=arguments.value("learning_rate")),
            steps,
            rate.with_changes(value=arguments.value("decay")),
        ]
    )
    arguments.drop("decay")
    arguments.replace("learning_rate", schedule)


def _has_decay(arguments):
    return arguments.literal("decay", 0) != 0
