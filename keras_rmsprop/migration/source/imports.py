"""The imports that rewritten code needs, and those it needs no more."""

import functools

import libcst as cst
from libcst import metadata

from keras_rmsprop.migration.source import names, source_file, tree


def plan(file, module, node):
    """Plans the import of a module that rewritten code writes by its full name.

    Nothing is planned where the file imports it already, and `from tensorflow import
    keras` will do for "keras". Where TensorFlow or Keras are imported in a function,
    so that importing the file is cheap, the module will be imported there too.

    Args:
      file: the `SourceFile`.
      module: a dotted module name.
      node: the expression to be rewritten.

    Raises:
      Undecided: the file uses the name for something else.
    """
    first = module.partition(".")[0]
    bound_to = set()
    for scope in file.scopes:
        if any(assignment.name == first for assignment in scope.assignments):
            is_global = isinstance(scope, metadata.GlobalScope)
            bound_to |= {
                (is_global, found.name)
                if found.source is metadata.QualifiedNameSource.IMPORT
                else (is_global, None)
                for found in scope.get_qualified_names_for(first)
            }
    if module == "keras" and bound_to and bound_to <= _TF_KERAS:
        return
    if any(name != first for _, name in bound_to):
        raise source_file.Undecided(
            f"the rewritten code needs `import {module}`, but the name `{first}` "
            "means something else in this file"
        )
    if not _is_imported(file.module, module):
        line = _line_of_lazy_import(file, node)
        file.needed_imports.setdefault(module, []).append(line)


_TF_KERAS = {
    (True, f"{root}keras")
    for root in ("tensorflow.", "tensorflow.compat.v1.", "tensorflow.compat.v2.")
}


def _is_imported(module, name):
    return any(
        f"{tree.dotted(alias.name)}.".startswith(f"{name}.")
        for statement in module.body
        if isinstance(statement, cst.SimpleStatementLine)
        for node in statement.body
        if isinstance(node, cst.Import)
        for alias in node.names
        if alias.asname is None
    )


def _line_of_lazy_import(file, node):
    """The line, in a function, that imports what a node needs; None at the top."""
    root = tree.root(node)
    found = file.imports_of(root) if isinstance(root, cst.Name) else []
    if not found:
        roots = [each for each in file.imports if file.roots_of(each) & names.ROOTS]
        if any(file.function_around(each) is None for each in roots):
            return None
        around = set(file.ancestors(node))
        found = [each for each in roots if file.function_around(each) in around]
    lines = [file.parent(each) for each in found]
    is_lazy = lines and all(
        file.function_around(line) is not None
        and isinstance(file.parent(line), cst.IndentedBlock)
        for line in lines
    )
    return lines[-1] if is_lazy else None


def plan_lazy(file):
    """Plans the edits that import modules in functions; before `update`."""
    needed = {}
    for module, lines in file.needed_imports.items():
        if None not in lines:
            for line in lines:
                needed.setdefault(line, {})[module] = _import(module)
    for line, added in needed.items():
        edit = file.edits.get(line, lambda updated: updated)
        file.edits[line] = functools.partial(_followed, edit, list(added.values()))


def _followed(edit, added, updated):
    return cst.FlattenSentinel([edit(updated), *added])


def update(file, updated, keep_unused):
    """Adds the imports that the edits of `file` need and removes those they free.

    Args:
      file: the `SourceFile` whose edits have been carried out.
      updated: the edited module; its statements still match those of
        `file.module` one to one.
      keep_unused: whether imports that nothing uses any more must stay.

    Returns:
      The module with its imports up to date.
    """
    first_use = min(_statement_index(file, node) for node in file.edits)
    new = [
        _import(module)
        for module, lines in sorted(file.needed_imports.items())
        if None in lines
    ]
    old = {} if keep_unused else _import_lines_without_unused(file, first_use)
    gone = [index for index, line in old.items() if line is None]
    place = gone[0] if gone else _place(file.module, first_use)
    if new and not gone and place and _is_docstring(file.module.body[place - 1]):
        new[0] = new[0].with_changes(leading_lines=[cst.EmptyLine(indent=False)])

    body, gap = [], []
    for index, statement in enumerate(updated.body):
        if new and index == place:
            if gone:
                # The new import takes the place and the comments of the old one.
                new[0] = statement.with_changes(body=new[0].body)
            body += new
            if gone:
                continue
        statement = old.get(index, statement)
        if statement is None:
            gap += updated.body[index].leading_lines
            continue
        if gap:
            lines = [*gap, *statement.leading_lines]
            statement, gap = statement.with_changes(leading_lines=lines), []
        body.append(statement)
    return updated.with_changes(body=body)


def _import(module):
    return cst.parse_statement(f"import {module}\n")


def _statement_index(file, node):
    while not isinstance(file.parent(node), cst.Module):
        node = file.parent(node)
    return next(i for i, each in enumerate(file.module.body) if each is node)


def _place(module, first_use):
    """The index in the module's body before which a new import can stand."""
    place = 0
    for index, statement in enumerate(module.body[:first_use]):
        imported = _imported_modules(statement)
        if names.ROOTS & {name.partition(".")[0] for name in imported}:
            return index + 1
        if place == index and (
            imported == ["__future__"] or (index == 0 and _is_docstring(statement))
        ):
            place = index + 1
    return place


def _imported_modules(statement):
    """The modules that a line of nothing but imports names."""
    imported = []
    if not isinstance(statement, cst.SimpleStatementLine):
        return imported
    for node in statement.body:
        if isinstance(node, cst.Import):
            imported += [tree.dotted(alias.name) for alias in node.names]
        elif isinstance(node, cst.ImportFrom) and not node.relative:
            imported.append(tree.dotted(node.module))
        else:
            return []
    return imported


def _is_docstring(statement):
    match statement:
        case cst.SimpleStatementLine(body=[cst.Expr(value=value)]):
            return isinstance(value, (cst.SimpleString, cst.ConcatenatedString))
    return False


def _import_lines_without_unused(file, first_use):
    """The import lines that change: by index, what remains of them, or None."""
    lines = {}
    for index, statement in enumerate(file.module.body[:first_use]):
        match statement:
            case cst.SimpleStatementLine(
                body=[cst.ImportFrom(names=[*aliases]) as node]
            ):
                kept = [each for each in aliases if not _is_freed(file, node, each)]
            case _:
                continue
        if len(kept) == len(aliases):
            continue
        if kept:
            if "#" in file.code(node):
                continue  # A comment between the names could be about any of them.
            if kept[-1] is not aliases[-1]:
                last = aliases[-1].comma
                kept[-1] = kept[-1].with_changes(comma=last)
            line = statement.with_changes(body=[node.with_changes(names=kept)])
        elif "#" in file.code(statement.with_changes(leading_lines=[])):
            continue
        else:
            line = None
        lines[index] = line
    return lines


def _is_freed(file, node, alias):
    """Whether an imported name was read only where the rewrites replaced it."""
    if node.relative:
        return False
    imported = f"{tree.dotted(node.module)}.{tree.dotted(alias.name)}"
    if imported not in names.OPTIMIZER_MODULES and not names.era_of(imported):
        return False
    bound = alias.asname.name if alias.asname else alias.name
    if file.is_quoted(bound.value):  # It may be in `__all__`.
        return False
    callees = [tree.root(callee) for callee in file.callees]
    reads = file.loads_of(bound)
    if not reads or any(all(read is not each for each in callees) for read in reads):
        return False
    return file.elsewhere is None or not file.elsewhere.is_imported(bound.value)
