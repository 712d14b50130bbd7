"""The modules below a directory, and which of them can be in one program.

What a module imports is read off its text, because to parse all of a large project
takes long. An import that may mean several files is taken to mean all of them.
"""

import collections
import functools
import os
import re

from keras_rmsprop.migration.source import names, reading

# In notebooks, statements stand in strings.
_IMPORT = re.compile(
    rb"(?:^|[;:\"]|\\n)[ \t]*(?:"
    rb"from[ \t]+([\w.]+)[ \t]+import[ \t]*(\([^)]*|(?:[^\n#;\\]|\\\r?\n)*)"
    rb"|import[ \t]+((?:[^\n#;\\]|\\\r?\n)*))",
    re.MULTILINE,
)
_BY_NAME = re.compile(rb"\b(?:import_module|__import__)\(\s*(?:[\"']([\w.]+)[\"'])?")
# A class and its bases, or another name for what may be one.
_CLASS = re.compile(
    rb"\bclass[ \t]+(?P<name>\w+)(?P<bases>[^:]*):"
    rb"|(?P<of>[\w.]+)[ \t]+as[ \t]+(?P<alias>\w+)"
    rb"|^[ \t]*(?P<copy>\w+)[ \t]*=[ \t]*(?P<original>[\w.]+)[ \t]*\r?$",
    re.MULTILINE,
)
_NAME = re.compile(r"[\w.]+")


class Project:
    """The Python files and notebooks below a directory.

    Args:
      top: the directory.

    Attributes:
      top: the directory.
      data: a function of a path that returns the file's bytes.
      imports: a function of a path that returns the files that it may import.
      groups_of_classes: a function of a tuple of paths that returns a mapping from the
        name of a class in them to the names that inheritance joins to it.
    """

    def __init__(self, top):
        self.top = top
        self.data = functools.lru_cache(maxsize=1024)(_bytes_of)
        self.imports = functools.lru_cache(maxsize=None)(self._imported)
        self.groups_of_classes = functools.lru_cache(maxsize=8)(self._groups)
        self._with = functools.lru_cache(maxsize=None)(self._paths_with)
        self._paths = list(reading.files_below(top, (".py", reading.NOTEBOOK)))
        self._by_name = collections.defaultdict(list)
        for path in self._paths:
            self._by_name[_parts(path)[-1]].append(path)

    def files_of(self, module, importer):
        """Returns the files that a module's name may mean.

        Args:
          module: a dotted name, with dots before it where it is relative.
          importer: the path of the file that imports it.

        Returns:
          A list of paths; empty for a module that is not of the project.
        """
        name = module.lstrip(".")
        parts = tuple(name.split(".")) if name else ()
        level = len(module) - len(name)
        if level:
            whole = (*_parts_of_directory(importer)[: 1 - level or None], *parts)
            return [path for path in self._by_name[whole[-1]] if _parts(path) == whole]
        if parts[0] in names.ROOTS:
            return []
        found = [
            path
            for path in self._by_name[parts[-1]]
            if _parts(path)[-len(parts) :] == parts
        ]
        # Python looks from the program's directory, which is above what it imports.
        from_above = [
            path
            for path in found
            if _begins(_parts_of_directory(importer), _parts(path)[: -len(parts)])
        ]
        return from_above or found

    def packages_of(self, path):
        """Returns the files that packages around a module have of their own."""
        parts = _parts(path)
        return {
            each
            for count in range(1, len(parts))
            for each in self._by_name.get(parts[count - 1], ())
            if _parts(each) == parts[:count]
        }

    def has(self, name, importer):
        """Whether a dotted name may be, or be in, a module of the project."""
        return any(self.files_of(each, importer) for each in _with_packages(name))

    def related(self, path):
        """Returns the files that can be in one program with a file, itself included.

        These are what any file imports that imports it, over any number of steps.
        """
        return _closure(_closure({path}, self._importers), self._imports)

    def is_imported(self, path, name):
        """Whether a name of a file may be imported from it by another."""
        return any(path in self.imports(other) for other in self._with(name))

    def star_importers(self, path):
        """Returns a file and those that have its names by `from ... import *`."""
        found, pending = {path}, [path]
        while pending:
            importers = self._importers.get(pending.pop(), set()) - found
            new = {each for each in importers if _has_star(self.data(each))}
            found |= new
            pending += new
        return found

    def _groups(self, paths):
        found = []
        for path in paths:
            for match in _CLASS.finditer(self.data(path)):
                name, bases, *others = (
                    (group or b"").decode(errors="replace") for group in match.groups()
                )
                of, alias, copy, original = others
                name, bases = name or alias or copy, f"{bases} {of} {original}"
                found.append((name, re.findall(r"\w+", bases)))
        groups = {name: {name} for name, _ in found}
        for name, bases in found:
            for base in bases:
                if base in groups and groups[base] is not groups[name]:
                    groups[name] |= groups[base]
                    groups.update(dict.fromkeys(groups[name], groups[name]))
        return groups

    def has_word(self, path, *words):
        """Whether one of some words stands in a file."""
        pattern = rf"\b(?:{'|'.join(words)})\b"
        return re.search(pattern.encode(), self.data(path)) is not None

    @functools.cached_property
    def _imports(self):
        return {path: self.imports(path) for path in self._paths}

    @functools.cached_property
    def _importers(self):
        importers = collections.defaultdict(set)
        for path, imported in self._imports.items():
            for each in imported:
                importers[each].add(path)
        return importers

    def _paths_with(self, text):
        return [path for path in self._paths if text.encode() in _bytes_of(path)]

    def _imported(self, path):
        data = self.data(path)
        modules = set()
        for found in _IMPORT.finditer(data):
            module, imported, whole = (
                (group or b"").decode(errors="replace") for group in found.groups()
            )
            modules.update(*(_NAME.findall(each)[:1] for each in whole.split(",")))
            if module:
                dot = "" if module.endswith(".") else "."
                modules |= {f"{module}{dot}{name}" for name in _NAME.findall(imported)}
                modules.add(module)
        for found in _BY_NAME.finditer(data):
            if found[1] is None:
                return set(self._paths)
            modules.add(found[1].decode())
        # A package's own file runs before those in it.
        wanted = set().union(*map(_with_packages, modules))
        imported = set().union(*(self.files_of(each, path) for each in wanted))
        return imported - {path}


def _bytes_of(path):
    with open(path, "rb") as file:
        return file.read()


def _with_packages(module):
    """A module's name, and those of the packages around it."""
    dots, name = re.fullmatch(r"(\.*)(.*)", module).groups()
    parts = name.split(".")
    return {dots + ".".join(parts[:count]) for count in range(len(parts) + 1)} - {""}


def _has_star(data):
    return re.search(rb"\bimport[ \t]*\*", data) is not None


def _closure(begin, edges):
    found, pending = set(begin), list(begin)
    while pending:
        new = edges.get(pending.pop(), set()) - found
        found |= new
        pending += new
    return found


def _begins(parts, first):
    return parts[: len(first)] == first


def _parts_of_directory(path):
    return tuple(os.path.dirname(os.path.abspath(path)).split(os.sep))


@functools.lru_cache(maxsize=65536)
def _parts(path):
    """The parts of a module's name, from the root of the file system on."""
    parts = tuple(os.path.splitext(os.path.abspath(path))[0].split(os.sep))
    return parts[:-1] if parts[-1] == "__init__" else parts
