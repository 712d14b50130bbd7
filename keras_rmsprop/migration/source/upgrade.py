"""The upgrade of one piece of source code."""

import ast
import dataclasses
import warnings

import libcst as cst

from keras_rmsprop.migration.source import (
    cells,
    findings,
    imports,
    rewrites,
    source_file,
)
from keras_rmsprop.migration.source.mentions import mentions, refers
from keras_rmsprop.migration.source.options import Options

rewrites.load()


def upgrade_source(
    code, *, to="keras-rmsprop", assume="tf2.10", accept=(), keep_imports=False
):
    """Rewrites the uses of RMSProp in a piece of Python code.

    Formatting and comments stay, a second upgrade changes nothing, and what cannot
    be decided is left alone and reported.

    Args:
      code: the source code, a str.
      to: what to rewrite to. "keras-rmsprop" is `keras_rmsprop.RMSprop` with the
        numerics of what it replaces; "keras" is stock Keras 3, where the numerics
        are the same; "compat" is the same API as before, from this library.
      assume: what a spelling meant that several versions share, such as
        `tf.keras.optimizers.RMSprop(0.01)`: "tf1.4", "tf2.10",
        "keras2" or "keras3". What the code itself shows comes before it.
      accept: differences in the numerics that `to="keras"` may make, out of
        "initial-accumulator", "epsilon-placement" and "sparse-gradients".
      keep_imports: whether to keep imports that are unused afterwards, for files
        from which others import.

    Returns:
      An `Upgrade` with the new code and the findings. Code that cannot be parsed
      comes back as it is, with a "not handled" finding.

    Raises:
      ValueError: an option is none of those allowed.

    Example:

    >>> upgrade = upgrade_source(
    ...     "import tensorflow.compat.v1 as tf\\n"
    ...     "optimizer = tf.train.RMSPropOptimizer(0.01, decay=0.95)  # fast\\n"
    ...     "model.compile(optimizer)\\n"
    ... )
    >>> print(upgrade.code)
    import tensorflow.compat.v1 as tf
    import keras_rmsprop
    optimizer = keras_rmsprop.RMSprop(learning_rate=0.01, rho=0.95, epsilon=1e-10, \
update_rule="tf1")  # fast
    model.compile(optimizer)
    <BLANKLINE>
    """
    options = Options(to=to, assume=assume, accept=accept)
    return upgrade_text(code, options, keep_imports)


def upgrade_text(code, options, keep_imports=False, elsewhere=None):
    """Does what `upgrade_program` does, for a text."""
    if not mentions(code):
        return findings.Upgrade(code, code)
    program = cells.Program([code])
    upgraded = upgrade_program(program, options, keep_imports, elsewhere)
    after = program.restored(upgraded.code) if upgraded.changed else code
    return dataclasses.replace(upgraded, before=code, code=after)


def upgrade_program(program, options, keep_imports=False, elsewhere=None):
    """Upgrades a `cells.Program`.

    Args:
      program: the `Program`.
      options: an `Options`.
      keep_imports: as in `upgrade_source`.
      elsewhere: the `Elsewhere` of the project that the program is a module of; None
        where there is only the program.

    Returns:
      An `Upgrade` of the program's code, with hidden lines still hidden.
    """
    upgraded, found, rewritten = None, set(), set()
    try:
        file, upgraded = _understood(program, options, keep_imports, elsewhere)
        if file is not None:
            found, rewritten = file.findings, file.rewritten
    except Unparsable as error:
        found = {_not_handled(program, *error.args)}
    except RecursionError:
        found = {_not_handled(program, 0, "it is nested too deeply")}
    for place in map(program.place_in_text, program.unread):
        reason = "a line that is no Python 3 mentions RMSProp"
        found.add(findings.at_place(place, findings.NOT_HANDLED, reason))
    before = program.code
    upgraded = before if upgraded is None else upgraded
    return findings.Upgrade(
        before, upgraded, findings.summed_up(found), tuple(sorted(rewritten))
    )


def _not_handled(program, line, reason):
    return findings.at_place(program.place(line), findings.NOT_HANDLED, reason)


class Unparsable(Exception):
    """Arguments: the line, 0 where there is none, and the reason."""


def parse(code, is_wanted=lambda tree: True):
    """Returns the `libcst.Module` of code.

    Args:
      code: the code.
      is_wanted: a function of the `ast.Module`, which takes less time to have.

    Returns:
      The module; None where it is not wanted.

    Raises:
      Unparsable: the code is no Python 3 that can be handled.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Invalid escapes are the owner's affair.
            # Python's parser refuses what is nested so deeply that libcst's crashes.
            if not is_wanted(ast.parse(code)):
                return None
        module = cst.parse_module(code)
    except SyntaxError as error:
        raise Unparsable(error.lineno or 0, f"no Python 3: {error.msg}") from None
    except cst.ParserSyntaxError as error:
        raise Unparsable(error.raw_line, "no Python 3 that libcst reads") from None
    except (ValueError, MemoryError) as error:
        raise Unparsable(0, f"cannot be parsed: {error or 'too deep'}") from None
    if module.code != code:
        raise Unparsable(0, "its line ends or form feeds would not be kept")
    return module


def _understood(program, options, keep_imports, elsewhere):
    """Returns the `SourceFile` and the code after its edits; None for nothing to do."""
    program.hide_irrelevant()
    while True:
        module = parse(program.code, refers)
        if module is None:
            return None, None
        file = source_file.SourceFile(module, options, program, elsewhere)
        # What looks at the module is about all that the others have left.
        for node in (*file.nodes[1:], file.module):
            for handler in rewrites.handlers_of(type(node)):
                handler(node, file)
        if program.needs(file.asked_bound, file.asked_read):
            continue
        upgraded = _edited(file, keep_imports)
        if not program.needs(file.asked_bound, file.asked_read):
            return file, upgraded


def _edited(file, keep_imports):
    if not file.edits:
        return file.module.code
    imports.plan_lazy(file)
    updated = file.module.visit(_Editor(file.edits))
    return imports.update(file, updated, keep_imports).code


class _Editor(cst.CSTTransformer):
    """Carries out the planned edits, inner ones first."""

    def __init__(self, edits):
        super().__init__()
        self._edits = edits

    def on_leave(self, original_node, updated_node):
        edit = self._edits.get(original_node)
        return edit(updated_node) if edit else updated_node
