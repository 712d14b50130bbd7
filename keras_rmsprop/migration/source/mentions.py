"""Whether a file says anything about RMSProp: seen without parsing, or by `ast`.

Scopes and positions cost a hundred times what these looks do, and few files need them.
"""

import ast
import re

from keras_rmsprop.migration.source import names

_IMPORTED = frozenset(["rmsprop", "rmsprop_v2", "rmspropoptimizer"])
_CODE_IN_A_STRING = re.compile(
    r"RMSPropOptimizer|RMSprop\s*[(.]|\.RMSprop$|^\s*rmsprop\s*$", re.I
)


def mentions(text):
    """Whether a text, a str or bytes, names RMSProp anywhere, in whatever case.

    Example:

    >>> mentions(b"tf.train.RMSPropOptimizer"), mentions("Adam")
    (True, False)
    """
    return (b"rmsprop" if isinstance(text, bytes) else "rmsprop") in text.lower()


def refers(tree):
    """Whether code names RMSProp outside comments and docstrings.

    Args:
      tree: an `ast.Module`.

    Returns:
      True where a name, an attribute, an import or a string may mean the optimizer.

    Example:

    >>> refers(ast.parse("opt = RMSprop(0.1)")), refers(ast.parse("'like rmsprop'"))
    (True, False)
    """
    documentation = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return any(
        _refers(node) for node in ast.walk(tree) if id(node) not in documentation
    )


def _refers(node):
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in names.CLASS_NAMES
        case ast.alias(name=name):
            return name.rpartition(".")[2].lower() in _IMPORTED
        case ast.Constant(value=str(text)):
            return _CODE_IN_A_STRING.search(text) is not None
        case ast.Call(func=ast.Name(id="getattr"), args=[module, *_]):
            return isinstance(module, (ast.Name, ast.Attribute))
    return False
