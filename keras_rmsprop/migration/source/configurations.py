"""Configurations that name RMSProp: gin, YAML, JSON and shell scripts."""

import re

from keras_rmsprop.migration.source import findings
from keras_rmsprop.migration.source.cells import lines_of
from keras_rmsprop.migration.source.mentions import mentions

# What a gin file is made of, as far as it matters here: comments, strings, and names
# of classes, which stand after `@` or before a parameter.
_GIN = re.compile(
    r"""
    \#[^\n]*
    | (?P<string>\"{3}.*?\"{3} | \'{3}.*?\'{3}
        | \"(?:\\.|[^"\\\n])*\" | \'(?:\\.|[^'\\\n])*\')
    | (?<![\w.%])(?P<name>(?:\w+\.)*(?:RMSPropOptimizer|RMSprop))(?!\w)
    """,
    re.VERBOSE | re.DOTALL,
)
_OF_TF1 = re.compile(r"((tf|tensorflow)\.)?(compat\.v1\.)?(train\.)?RMSPropOptimizer")
_OF_KERAS = re.compile(
    r"((tf|tensorflow)\.)?(compat\.v[12]\.)?(keras\.)?(optimizers\.(legacy\.)?)?RMSprop"
)
_OF_OTHERS = re.compile(r"(tf|tensorflow|keras|tf_keras)\.")
_RMSPROP = r"(?:[\w.]+\.)?rmsprop(?:optimizer)?"
_SETTING = re.compile(
    rf"""
    # Under a key, or after a flag, that an optimizer may have ...
    ["']?(?<![\w-])[\w-]*(?:type|name|class|kind|algorithm|solver|method|target_|opt|optim\w*)
    ["']?[ \t]*[:=\s][ \t]*(?:[!&]\w*[ \t]*)?["']?{_RMSPROP}\b(?![/:-])["']?
    # ... or alone, as an item or a value.
    | (?:[\[{{,:=]|^[ \t]*-[ ])[ \t]*(?:[!&]\w*[ \t]*)?
    (?P<quote>["']?){_RMSPROP}(?P=quote)[ \t]*(?=$|[,\])}};])
    """,
    re.IGNORECASE | re.VERBOSE,
)
_AROUND = " \t,[{:=-"
_NAMED = "names an optimizer for code that reads it"
_COMPAT = "compat_v1.train.RMSPropOptimizer"
_REGISTER = (
    "gin has to know the class: call `gin.external_configurable("
    f'{_COMPAT}, module="compat_v1.train")`'
)

# The endings of files that are looked at for settings, and no more.
ENDINGS = (".yaml", ".yml", ".json", ".toml", ".ini", ".cfg", ".sh")


def upgrade_gin(text, options):
    """Rewrites the bindings of a gin file that name RMSProp.

    Args:
      text: the file, a str.
      options: an `Options`.

    Returns:
      An `Upgrade`. TF1's class becomes `compat_v1.train.RMSPropOptimizer` where that
      is the target. For any other it stays, because gin does not show what is done
      with the optimizer, and so do classes of Keras.
    """
    code, told = rewritten(text, options)
    found = [findings.Finding(*each) for each in told]
    return findings.Upgrade(text, code, findings.summed_up(found))


def rewritten(code, options):
    """Rewrites gin code.

    Returns:
      The code with RMSProp rewritten, and a list of lines, kinds and messages.
    """
    found = []

    def replacement(match):
        after, told = _of_string(match) or _of_class(match, options)
        line = code.count("\n", 0, match.start()) + 1
        found.extend((line, *each) for each in told)
        return after

    return _GIN.sub(replacement, code), found


def _of_string(match):
    """What becomes of a comment or a string, with pairs of a kind and a message."""
    if match["name"]:
        return None
    text = match["string"]
    if text is None or not re.fullmatch(_RMSPROP, text.strip("\"'"), re.IGNORECASE):
        return match[0], []
    return match[0], [(findings.NOT_HANDLED, f"`{text}` {_NAMED}")]


def _of_class(match, options):
    name = match["name"]
    if _OF_KERAS.fullmatch(name):
        reason = "a class of Keras in a gin binding: change it by hand"
    elif not _OF_TF1.fullmatch(name):
        if not _OF_OTHERS.match(name):
            return name, []
        reason = "an RMSProp that is not known here"
    elif options.to != "compat":
        reason = (
            "TF1's class in a gin binding, which does not show what is done with "
            "it: only `--to compat` keeps that"
        )
    else:
        what = f"`{name}` to `{_COMPAT}`"
        return _COMPAT, [(findings.REWRITTEN, what), (findings.NOTE, _REGISTER)]
    return name, [(findings.LEFT_ALONE, f"`{name}` is {reason}")]


def settings(text):
    """Returns the `Upgrade` of a configuration, which stays and whose lines are named.

    Example:

    >>> settings("optimizer:\\n  type: rmsprop\\n").findings[0].at("a.yaml")
    'a.yaml:2: not handled: `type: rmsprop` names an optimizer for code that reads it'
    """
    found = [
        findings.Finding(
            number,
            findings.NOT_HANDLED,
            f"`{match[0].strip(_AROUND)}` {_NAMED}",
        )
        for number, line in enumerate(lines_of(text), 1)
        if mentions(line) and (match := _SETTING.search(line.partition("#")[0]))
    ]
    return findings.Upgrade(text, text, tuple(found))
