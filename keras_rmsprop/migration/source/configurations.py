"""Configurations that name RMSProp: gin, YAML, JSON and shell scripts."""

import re

from keras_rmsprop.migration.source import findings
from keras_rmsprop.migration.source.cells import lines_of

# Gin names classes of TensorFlow by their modules, after `@` or before a parameter.
_GIN = re.compile(
    r"(?<![\w.])(?P<name>(?:(?:tf\.)?(?:compat\.v1\.)?train\.)?RMSPropOptimizer"
    r"|(?:tf\.)?(?:keras\.)?optimizers?\.(?:legacy\.)?RMSprop)(?![\w])"
)
_SETTING = re.compile(
    r"(?:type|name|class|class_name|kind|algorithm|\w*optim\w*)[\"']?\s*(?:[:=]|\s)\s*"
    r"[\"']?(?:[\w.]+\.)?rmsprop(?:optimizer)?\b",
    re.IGNORECASE,
)
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
    lines, found = lines_of(text), []
    for index, line in enumerate(lines):
        code = line.partition("#")[0]
        lines[index], told = rewritten(code, options)
        lines[index] += line[len(code) :]
        found += [findings.Finding(index + 1, *each) for each in told]
    return findings.Upgrade(text, "".join(lines), findings.summed_up(found))


def rewritten(code, options):
    """Returns gin code with RMSProp rewritten, and pairs of a kind and a message."""
    found = []

    def replacement(match):
        name = match["name"]
        if not name.endswith("RMSPropOptimizer"):
            reason = "a class of Keras in a gin binding: change it by hand"
        elif options.to != "compat":
            reason = (
                "TF1's class in a gin binding, which does not show what is done with "
                "it: only `--to compat` keeps that"
            )
        else:
            found.append((findings.REWRITTEN, f"`{name}` to `{_COMPAT}`"))
            found.append((findings.NOTE, _REGISTER))
            return _COMPAT
        found.append((findings.LEFT_ALONE, f"`{name}` is {reason}"))
        return name

    return _GIN.sub(replacement, code), found


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
            f"`{match[0].strip()}` names an optimizer for code that reads it",
        )
        for number, line in enumerate(lines_of(text), 1)
        if (match := _SETTING.search(line.partition("#")[0]))
    ]
    return findings.Upgrade(text, text, tuple(found))
