"""Where other modules of a project read what one of them keeps."""

import os
import re

import libcst as cst

from keras_rmsprop.migration.source import (
    cells,
    inheritance,
    notebooks,
    reading,
    source_file,
    tree,
    upgrade,
)
from keras_rmsprop.migration.source.following import Unclear

# Where these are, a module may be found by its name.
_DYNAMIC = ("import_module", "__import__", "modules")


class Elsewhere:
    """The rest of a project, seen in the upgrade of one of its files.

    Args:
      project: the `Project`.
      path: the file.
      options: an `Options`.

    Attributes:
      path: the file.
    """

    def __init__(self, project, path, options):
        self._project = project
        self._options = options
        self.path = path
        self._files = {}

    def reads(self, file, target):
        """Yields where other files than this read what is assigned to a target.

        Args:
          file: the `SourceFile`.
          target: a global name, an import's too, or an attribute, a class's too.

        Yields:
          Pairs of a `SourceFile` and a node, which reads it or is the name that an
          import binds to it.

        Raises:
          Unclear: that cannot be known.
        """
        if isinstance(target, cst.Name) and file.is_global(target):
            return self._reads_of_global(file, target.value)
        return self._reads_of_attribute(file, target)

    def classes(self, file, name):
        """Returns the classes of other files that a dotted name may mean.

        Returns:
          A list of pairs of a `SourceFile` and a class.
        """
        found, seen = [], set()
        pending = list(self._members(file, file.qualified(name)))
        while pending:
            other, member = pending.pop()
            if (other.path, member) in seen:
                continue
            seen.add((other.path, member))
            for statement in other.module.body:
                match statement:
                    case cst.ClassDef(name=cst.Name(value=name)) if name == member:
                        found.append((other, statement))
            for alias in other.of_kind(cst.ImportAlias):
                if _bound_by(alias).value == member:
                    pending += self._members(other, [_imported(alias, other)])
        return found

    def is_imported(self, name):
        """Whether another file may import a name from this one."""
        return self._project.is_imported(self.path, name)

    def meet(self, one, other):
        """Whether two files can be in one program."""
        return other.path in self._project.related(one.path)

    def _members(self, file, qualified):
        """The files, and the names in them, that dotted names of a file may mean."""
        for module, member in map(_split, qualified):
            for path in self._files_of(module, file):
                yield self._file(path), member

    def _files_of(self, module, file):
        return set(self._project.files_of(module, file.path)) if module else set()

    @property
    def _related(self):
        return tuple(sorted(self._project.related(self.path)))

    def _reads_of_global(self, file, name):
        homes = self._project.star_importers(file.path)
        ways = homes.union(*map(self._project.packages_of, homes))
        for path in self._related:
            if path == file.path or ways.isdisjoint(
                {path, *self._project.imports(path)}
            ):
                continue
            other = self._file(path)
            self._check_modules_as_values(other, homes)
            if path in homes:
                yield from ((other, node) for node in _unbound(other, name))
            for alias in other.of_kind(cst.ImportAlias):
                module, last = _split(_imported(alias, other))
                if last == name and homes & self._files_of(module, other):
                    yield other, _bound_by(alias)
            for node in other.attribute_loads(name):
                if self._is_of(homes, node, other):
                    yield other, node

    def _is_of(self, homes, node, file):
        """Whether an attribute may be one of certain modules."""
        found = file.qualified(node)
        if any(name.startswith("<") for name in found) or tree.dotted(node) is None:
            # What is no import is a module only where these are got by their names.
            return self._project.has_word(file.path, *_DYNAMIC)
        if not found:
            return True  # Who knows what comes by a star import.
        return any(homes & self._files_of(_split(name)[0], file) for name in found)

    def _check_modules_as_values(self, file, homes):
        """Raises Unclear where a module goes where its names cannot be followed."""
        names = {os.path.splitext(os.path.basename(path))[0] for path in homes}
        names |= {os.path.basename(os.path.dirname(path)) for path in homes}
        for node in file.of_kind(cst.Name, cst.Attribute):
            if (
                file.may_be_named(node, names)
                and not isinstance(file.parent(node), cst.Attribute)
                and file.is_load(node)
                and any(homes & self._files_of(q, file) for q in file.qualified(node))
            ):
                raise Unclear(f"whose module goes elsewhere in {file.place(node)}")

    def _reads_of_attribute(self, file, target):
        name, owner = tree.last(target), inheritance.owner(file, target)
        related = self._related
        groups = self._project.groups_of_classes(related) if owner else {}
        for path in related:
            if path == file.path or not self._project.has_word(path, name):
                continue
            other = self._file(path)
            lookup = other.lookup(name)
            if lookup is not None:
                raise Unclear(f"which {other.place(lookup)} looks up by its name")
            for node in other.attribute_loads(name):
                around = inheritance.class_around(other, node)
                if owner and around and tree.dotted(node.value) == "self":
                    group = groups.get(owner.name.value, {owner.name.value})
                    if around.name.value in group:
                        yield other, node
                elif not self._is_foreign(node, other):
                    yield other, node

    def _is_foreign(self, node, file):
        """Whether an expression names something of a module outside the project."""
        found = file.qualified(node)
        return bool(found) and not any(
            name.startswith("<") or self._project.has(name, file.path) for name in found
        )

    def _file(self, path):
        if path not in self._files:
            self._files[path] = self._parsed(path)
        return self._files[path]

    def _parsed(self, path):
        ending = os.path.splitext(path)[1]
        name = os.path.relpath(path, self._project.top)
        try:
            text, _ = reading.decoded(self._project.data(path), ending)
            if ending == reading.NOTEBOOK:
                program = notebooks.program_of(text)
            else:
                program = cells.Program([text])
            module = upgrade.parse(program.code)
        except (SyntaxError, LookupError, ValueError, RecursionError) as error:
            raise Unclear(f"and `{name}` cannot be read: {error}") from error
        except upgrade.Unparsable as error:
            raise Unclear(f"and `{name}` cannot be read: {error.args[1]}") from error
        return source_file.SourceFile(module, self._options, program, self, path, name)


def _bound_by(alias):
    """The name that an import binds."""
    return alias.asname.name if alias.asname else tree.root(alias.name)


def _imported(alias, file):
    """The dotted name of what an import binds."""
    statement = file.parent(alias)
    if isinstance(statement, cst.Import):
        return alias.evaluated_name
    module = "." * len(statement.relative)
    if statement.module is not None:
        module += f"{tree.dotted(statement.module)}."
    return module + alias.evaluated_name


def _split(qualified):
    """The module and the last part of a dotted name, which may be relative."""
    dots, name = re.fullmatch(r"(\.*)(.*)", qualified).groups()
    module, _, last = name.rpartition(".")
    return dots + module, last


def _unbound(file, name):
    """Where a name is read that nothing in the file binds but a star import."""
    return [
        node
        for node in file.of_kind(cst.Name)
        if node.value == name and file.is_load(node) and not file.scope(node)[name]
    ]
