"""What a class inherits from, as far as its file and its project show."""

import sys

import libcst as cst

from keras_rmsprop.migration.source import tree


def class_around(file, node):
    """Returns the class in which a node stands, or None."""
    for parent in file.ancestors(node):
        if isinstance(parent, cst.ClassDef):
            return parent
    return None


def owner(file, target):
    """Returns the class whose attribute is assigned to, or None where that is unknown.

    Args:
      file: the `SourceFile`.
      target: a name, or attributes of a name.
    """
    of_self = isinstance(target, cst.Attribute) and tree.dotted(target.value) == "self"
    if of_self or (isinstance(target, cst.Name) and file.is_of_class(target)):
        return class_around(file, target)
    return None


def foreign_base(file, definition):
    """Returns the code of a base, however far up, that cannot be seen; or None.

    Args:
      file: the `SourceFile`.
      definition: the class.
    """
    pending, seen = [(file, definition)], set()
    while pending:
        where, node = pending.pop()
        if node in seen:
            continue
        seen.add(node)
        for base in (each.value for each in node.bases):
            if isinstance(base, cst.Subscript):
                base = base.value  # Generic[T]
            if _is_harmless(where, base):
                continue
            found = [(where, each) for each in where.definitions(base, cst.ClassDef)]
            if not found and where.elsewhere is not None:
                found = where.elsewhere.classes(where, base)
            if not found:
                return where.code(base)
            pending += found
    return None


def _is_harmless(file, base):
    """Whether a base is of Python itself, and so reads no optimizer."""
    if tree.dotted(base) == "object":
        return True
    roots = {name.split(".")[0] for name in file.qualified(base)}
    return bool(roots) and roots <= sys.stdlib_module_names
