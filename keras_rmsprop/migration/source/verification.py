"""Whether rewritten calls train as those that they replace: tried, not argued."""

import ast
import functools
import importlib

from keras_rmsprop.migration.source import findings, names

STEPS = 20
_SHIPPED = {
    names.TF1: "tensorflow.compat.v1.train.RMSPropOptimizer",
    names.LEGACY: "tf_keras.optimizers.legacy.RMSprop",
    names.KERAS2: "tf_keras.optimizers.RMSprop",
    names.KERAS: "keras.optimizers.RMSprop",
}


class _Unverified(Exception):
    """What a call cannot be verified for."""


def verify(upgrade):
    """Trains with each rewritten call of an `Upgrade` beside the class that shipped.

    Both take 20 steps on the built-in workloads, with dense and with sparse
    gradients. The rewritten code itself is not run: its calls are built anew from
    their arguments, where these are literals.

    Args:
      upgrade: an `Upgrade`.

    Returns:
      A list of `Finding`, by line: of the kind "verified" where both train alike,
      "differs" where they do not, and "not verified" where that cannot be tried.
    """
    found = []
    for rewrite in upgrade.rewrites:
        try:
            kind, message = _verified(rewrite.era, rewrite.before, rewrite.after)
        except _Unverified as error:
            kind, message = findings.NOT_VERIFIED, str(error)
        found.append(findings.Finding(rewrite.line, kind, message, rewrite.cell))
    return found


@functools.lru_cache(maxsize=None)
def _verified(era, before, after):
    from keras_rmsprop.migration import comparison
    from keras_rmsprop.migration.comparison import workloads

    shipped = _SHIPPED.get(era)
    if shipped is None:
        raise _Unverified("nothing that can be installed has the class of its time")
    old = ast.parse(before, mode="eval").body
    reference = _built(ast.Call(_parsed(shipped), old.args, old.keywords))
    candidate = _built(_parsed(after))
    model, data = workloads.digits_and_text()
    try:
        found = comparison.compare(
            reference, candidate, model=model, data=data, steps=STEPS
        )
    except ValueError as error:
        raise _Unverified(str(error)) from error
    beside = f"beside `{shipped}` for {STEPS} steps"
    if found.max_ulp == 0:
        return findings.VERIFIED, f"0 ULP {beside}"
    if found.equivalent:
        return findings.VERIFIED, f"rounding, {found.max_ulp:g} ULP, {beside}"
    causes = ", ".join(cause.name for cause in found.causes)
    return findings.DIFFERS, f"{causes}: {found.max_ulp:g} ULP {beside}"


def _parsed(code):
    return ast.parse(code, mode="eval").body


def _built(node):
    """Returns what an expression of classes and literals gives."""
    if not isinstance(node, ast.Call):
        try:
            return ast.literal_eval(node)
        except ValueError as error:
            code = ast.unparse(node)
            raise _Unverified(f"`{code}` is no literal") from error
    if any(isinstance(each, ast.Starred) for each in node.args) or any(
        each.arg is None for each in node.keywords
    ):
        raise _Unverified("`*args` or `**kwargs` hide which arguments it gets")
    function = _found(ast.unparse(node.func))
    arguments = [_built(each) for each in node.args]
    keywords = {each.arg: _built(each.value) for each in node.keywords}
    try:
        return function(*arguments, **keywords)
    except (TypeError, ValueError) as error:
        raise _Unverified(f"`{ast.unparse(node)}`: {error}") from error


def _found(name):
    """Returns the class of a public name; nothing else of the code is looked up."""
    root, *parts = name.split(".")
    if root not in ("keras_rmsprop", "compat_v1", *names.ROOTS):
        raise _Unverified(f"`{name}(...)` is no literal")
    try:
        found, path = importlib.import_module(root), root
        for part in parts:
            path += f".{part}"
            found = getattr(found, part, None) or importlib.import_module(path)
    except ImportError as error:
        raise _Unverified(f"`{name}` is not installed") from error
    return found
