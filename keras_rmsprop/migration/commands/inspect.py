"""`keras-rmsprop inspect`: says what a file holds, and how to go on from it."""

import textwrap

from keras_rmsprop.migration.commands import explain, reading
from keras_rmsprop.migration.starting import load_tensorflow
from keras_rmsprop.migration.tables import filled

_EPILOG = """\
exit status:
  0  done
  1  the source cannot be read, or does not tell what it holds
  2  wrong usage
"""


def add_arguments(parser):
    """Adds the arguments of the command to an argparse parser."""
    parser.description = (
        "Says what SOURCE is; the variables, slots, hyperparameters and step count of "
        "the RMSProp optimizer in it; what it does not hold; and the lines of Python "
        "that go on from it. Nothing is written."
    )
    parser.epilog = _EPILOG
    reading.add_options(parser)


def main(args):
    """Runs the command.

    Args:
        args: The parsed arguments.

    Returns:
        The exit status.
    """
    load_tensorflow()
    from keras_rmsprop.migration.state import readers

    try:
        what, options = readers.about(args.source)
        print(filled(f"{args.source!r} is {what}.") + "\n")
        state = reading.read(args)
    except (OSError, ValueError) as error:
        explain("inspect", error)
        return 1
    from keras_rmsprop.migration import translation
    from keras_rmsprop.migration.state.readers.model_values import UNNAMED

    asked = translation.needed(state, "keras_rmsprop.RMSprop")
    # What is asked for may be anything, to see what becomes of the rest.
    known = {name: 0.5 if usual is ... else usual for name, usual in asked.items()}
    found = translation.arguments(state, "keras_rmsprop.RMSprop", **known)
    lost = {**dict.fromkeys(state.not_read, "it was not read"), **found.not_carried}
    # A model names what such a file only numbers, and so its values are read, too.
    has_values = lost.pop(UNNAMED, "") and "variables" in options or _has_values(state)
    print(state)
    _print_list("It does not hold", _lacking(state, asked, has_values))
    _print_list("It does not carry over", [f"{n}: {why}" for n, why in lost.items()])
    print("\nTo go on in Keras 3, with a built `model` that has these variables:\n")
    print(textwrap.indent(_recipe(args, state, found, asked, has_values), "    "))
    print("\nThat makes, and fills,\n")
    print(textwrap.indent(_made(found, asked), "    "))
    print()
    print(
        filled(
            "Variables are paired by names and shapes. Where these leave a choice, it "
            "stops and prints a `name_map` to paste, with the names of both sides."
        )
    )
    return 0


def _print_list(head, texts):
    if texts:
        print(f"\n{head}:")
    for text in texts:
        print(filled(f"- {text}", "  "))


def _lacking(state, asked, has_values):
    """Returns what a file does not hold, and what supplies it, in words."""
    lacking = []
    if state.iterations is None:
        lacking.append(
            "the number of steps: --iterations gives it, or --global-step names a "
            "variable of a checkpoint that counts them"
        )
    if asked:
        lacking.append(
            f"{', '.join(asked)}: fill in the `...` below with what the source was "
            "trained with"
        )
    if not has_values:
        lacking.append(
            "the values of the variables: load them into the model first, as with "
            "model.load_weights"
        )
    if state.is_positional:
        lacking.append(
            "names of the variables: the model gives them, and they are paired by "
            "position, in the order of model.trainable_variables"
        )
    return lacking


def _recipe(args, state, found, asked, has_values):
    """Returns the lines of Python that go on from a state."""
    given = {name: repr(value) for name, value in reading.hints(args).items()}
    if args.iterations is not None or state.iterations is None:
        given["iterations"] = "..." if args.iterations is None else args.iterations
    if not has_values:
        given["restore_values"] = "False"
    for name in (*asked, *found.not_carried):
        if name in asked or name == "learning_rate":
            given[name] = "..."
    lines = [
        f"    {name}={value},{_hint(name, asked)}" for name, value in given.items()
    ]
    return "\n".join(
        [
            "from keras_rmsprop import migration",
            "",
            "optimizer, not_carried = migration.resume(",
            f"    {args.source!r},",
            "    model,",
            *lines,
            ")",
            "# model.compile(optimizer, loss=...)",
        ]
    )


def _made(found, asked):
    """Returns the optimizer as Python."""
    from keras_rmsprop.migration import translation

    arguments = {"learning_rate": ..., **found.carried, **dict.fromkeys(asked, ...)}
    lines = []
    for name, value in arguments.items():
        code = "..." if value is ... else translation.as_code(value)
        lines.append(f"    {name}={code},{_hint(name, asked)}")
    return "\n".join(["keras_rmsprop.RMSprop(", *lines, ")"])


def _hint(name, asked):
    return f"  # {asked[name]!r} by default" if asked.get(name, ...) is not ... else ""


def _has_values(state):
    return all(each.value is not None for each in state.variables.values())
