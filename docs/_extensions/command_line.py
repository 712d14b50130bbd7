"""The directive `command`: a subcommand's usage and options, from its own parser."""

import argparse
import importlib

from docutils import nodes
from docutils.parsers.rst import Directive

from keras_rmsprop.migration import cli


def setup(app):
    app.add_directive("command", _Command)
    return {"parallel_read_safe": True}


def parser_of(name):
    """Returns the parser of a subcommand, as the command line makes it."""
    module = importlib.import_module(f"keras_rmsprop.migration.commands.{name}")
    parser = argparse.ArgumentParser(
        prog=f"keras-rmsprop {name.replace('_', '-')}",
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(
            prog, width=80
        ),
    )
    module.add_arguments(parser)
    return parser


class _Command(Directive):
    """`.. command:: compare` describes `keras-rmsprop compare`."""

    required_arguments = 1

    def run(self):
        (name,) = self.arguments
        parser = parser_of(name)
        found = [nodes.paragraph(text=f"To {cli.COMMANDS[name.replace('_', '-')]}.")]
        found.append(_literal(parser.format_usage().removeprefix("usage: ")))
        if parser.description:
            found.append(
                nodes.paragraph(text=parser.description % {"prog": parser.prog})
            )
        found.append(_options(parser))
        if parser.epilog:
            found.append(_literal(parser.epilog % {"prog": parser.prog}))
        return found


def _options(parser):
    listed = nodes.definition_list()
    for action in parser._actions:
        if action.help is argparse.SUPPRESS or "--help" in action.option_strings:
            continue
        term = nodes.term()
        term += nodes.literal(text=_spelling(action))
        text = parser._get_formatter()._expand_help(action) if action.help else ""
        body = nodes.definition("", nodes.paragraph(text=text))
        listed += nodes.definition_list_item("", term, body)
    return listed


def _spelling(action):
    value = action.metavar or action.dest.upper()
    if action.choices:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        return value
    names = ", ".join(action.option_strings)
    return names if action.nargs == 0 else f"{names} {value}"


def _literal(text):
    block = nodes.literal_block(text.strip("\n"), text.strip("\n"))
    block["language"] = "none"
    return block
