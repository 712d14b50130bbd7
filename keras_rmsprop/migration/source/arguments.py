"""The arguments of a constructor call, edited by name with their layout kept."""

import dataclasses

import libcst as cst

from keras_rmsprop.migration.source import source_file, tree


@dataclasses.dataclass
class _Entry:
    """An argument of the target, and the white space that follows it."""

    name: str
    argument: cst.Arg
    after: cst.BaseParenthesizableWhitespace
    is_new: bool = False


class Arguments:
    """The arguments of one call by the names that its signature gives them.

    Args:
      call: the `libcst.Call`.
      signature: the names of the positional arguments, in order.

    Raises:
      Undecided: the call has `*args` or `**kwargs`, or more positional arguments
        than the signature has.
    """

    def __init__(self, call, signature):
        if any(argument.star for argument in call.args):
            raise source_file.Undecided(
                "`*args` or `**kwargs` hide which arguments it gets"
            )
        positional = sum(argument.keyword is None for argument in call.args)
        if positional > len(signature):
            raise source_file.Undecided(
                f"{positional} positional arguments are more than the "
                f"{len(signature)} of its signature"
            )
        self._has_trailing_comma = bool(call.args) and isinstance(
            call.args[-1].comma, cst.Comma
        )
        self._before = call.whitespace_before_args
        self._entries = [
            _Entry(
                argument.keyword.value if argument.keyword else signature[index],
                argument,
                argument.comma.whitespace_after
                if isinstance(argument.comma, cst.Comma)
                else argument.whitespace_after_arg,
            )
            for index, argument in enumerate(call.args)
        ]
        doubled = {name for name in self.names if self.names.count(name) > 1}
        if doubled:
            raise source_file.Undecided(f"`{doubled.pop()}` is given twice")

    @property
    def names(self):
        return [entry.name for entry in self._entries]

    def __contains__(self, name):
        return name in self.names

    def value(self, name):
        """Returns the expression given for `name`, or None."""
        return next((e.argument.value for e in self._entries if e.name == name), None)

    def literal(self, name, default):
        """Returns the literal given for `name`, `default` where there is none.

        Ellipsis stands for an expression that is no literal.
        """
        value = self.value(name)
        return default if value is None else tree.literal(value)

    def rename(self, old, new):
        for entry in self._entries:
            if entry.name == old:
                entry.name = new

    def replace(self, name, value):
        """Puts the expression `value` in the place of the one given for `name`."""
        for entry in self._entries:
            if entry.name == name:
                entry.argument = entry.argument.with_changes(value=value)

    def drop(self, name):
        """Takes an argument out; comments beside it stay."""
        for index, entry in enumerate(self._entries):
            if entry.name == name:
                del self._entries[index]
                before = self._entries[index - 1].after if index else self._before
                is_last = index == len(self._entries)
                merged = _merge(before, entry.after, is_last)
                if index:
                    self._entries[index - 1].after = merged
                else:
                    self._before = merged
                return

    def add(self, name, value):
        """Appends `name=value`, laid out like the arguments before it."""
        argument = cst.Arg(
            cst.parse_expression(value) if isinstance(value, str) else value
        )
        if not self._entries:
            self._entries.append(_Entry(name, argument, _NOTHING, is_new=True))
            return
        last = self._entries[-1]
        separator, closing = self._separator(), last.after
        if isinstance(closing, cst.ParenthesizedWhitespace):
            if isinstance(separator, cst.ParenthesizedWhitespace):
                last.after = closing.with_changes(
                    indent=separator.indent, last_line=separator.last_line
                )
            elif _comments(closing):
                last.after = closing
            else:
                last.after = separator
            closing = _plain(closing)
        else:
            last.after = separator
        self._entries.append(_Entry(name, argument, closing, is_new=True))

    def of(self, call, by_name=True):
        """Returns `call` with these arguments, all by name unless told otherwise."""
        last = len(self._entries) - 1
        return call.with_changes(
            whitespace_before_args=self._before,
            args=[
                self._finished(entry, by_name, index < last or self._has_trailing_comma)
                for index, entry in enumerate(self._entries)
            ],
        )

    def _finished(self, entry, by_name, with_comma):
        argument = entry.argument
        if argument.keyword is None and (by_name or entry.is_new):
            argument = argument.with_changes(keyword=cst.Name(entry.name), equal=_EQUAL)
        elif argument.keyword is not None and argument.keyword.value != entry.name:
            argument = argument.with_changes(keyword=cst.Name(entry.name))
        if with_comma:
            return argument.with_changes(
                comma=cst.Comma(whitespace_after=entry.after),
                whitespace_after_arg=_NOTHING,
            )
        return argument.with_changes(
            comma=cst.MaybeSentinel.DEFAULT, whitespace_after_arg=entry.after
        )

    def _separator(self):
        """The white space to put between two arguments."""
        between = [entry.after for entry in self._entries[:-1]]
        lines = [
            space
            for space in (*between, self._before)
            if isinstance(space, cst.ParenthesizedWhitespace)
        ]
        return _plain(lines[0]) if lines else cst.SimpleWhitespace(" ")


def realigned(call, width, shift):
    """Returns `call` with arguments that line up under the first one moved.

    Args:
      call: the call.
      width: how far its first argument was indented.
      shift: by how much more it will be.
    """

    def moved_spaces(spaces):
        if spaces.value == " " * width:
            return cst.SimpleWhitespace(" " * (width + shift))
        return spaces

    def moved(space):
        if not isinstance(space, cst.ParenthesizedWhitespace):
            return space
        return space.with_changes(
            empty_lines=[
                line.with_changes(whitespace=moved_spaces(line.whitespace))
                for line in space.empty_lines
            ],
            last_line=moved_spaces(space.last_line),
        )

    def moved_after(argument):
        comma = argument.comma
        if isinstance(comma, cst.Comma):
            comma = comma.with_changes(whitespace_after=moved(comma.whitespace_after))
        return argument.with_changes(
            comma=comma, whitespace_after_arg=moved(argument.whitespace_after_arg)
        )

    if isinstance(call.whitespace_before_args, cst.ParenthesizedWhitespace):
        return call
    return call.with_changes(args=[moved_after(each) for each in call.args])


_NOTHING = cst.SimpleWhitespace("")
_EQUAL = cst.AssignEqual(whitespace_before=_NOTHING, whitespace_after=_NOTHING)


def _comments(space):
    """The comment at the end of the line and the comments on lines of their own."""
    if not isinstance(space, cst.ParenthesizedWhitespace):
        return []
    lines = [space.first_line, *space.empty_lines]
    return [line.comment for line in lines if line.comment]


def _plain(space):
    """The same line break without comments and empty lines."""
    return space.with_changes(
        first_line=cst.TrailingWhitespace(
            newline=space.first_line.newline,
            whitespace=_NOTHING,
        ),
        empty_lines=[],
    )


def _merge(before, after, is_last):
    """The white space around an argument that is taken out, as one."""
    if not _comments(after):
        if is_last and _comments(before):
            return _closing(before, after)
        return after if is_last else before
    if not isinstance(before, cst.ParenthesizedWhitespace):
        return after
    moved = cst.EmptyLine(
        indent=after.indent,
        whitespace=before.last_line,
        comment=after.first_line.comment,
        newline=after.first_line.newline,
    )
    own_line = [moved] if after.first_line.comment else []
    return before.with_changes(
        empty_lines=[*before.empty_lines, *own_line, *after.empty_lines],
        last_line=after.last_line,
    )


def _closing(before, after):
    """`before` with its comments, ending where `after` ends."""
    if isinstance(after, cst.ParenthesizedWhitespace):
        return before.with_changes(last_line=after.last_line)
    return before
