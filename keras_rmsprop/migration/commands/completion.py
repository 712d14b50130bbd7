"""`keras-rmsprop completion`: prints what makes a shell complete the command."""

import shtab

from keras_rmsprop.migration import cli
from keras_rmsprop.migration.commands import compare

_EPILOG = """\
examples:
  keras-rmsprop completion bash \\
      > ~/.local/share/bash-completion/completions/keras-rmsprop
  keras-rmsprop completion zsh > "${fpath[1]}/_keras-rmsprop"
  keras-rmsprop completion fish \\
      > ~/.config/fish/completions/keras-rmsprop.fish

A new shell then completes. Print it again after an update.
"""


def add_arguments(parser):
    """Adds the arguments of the command to an argparse parser."""
    parser.description = (
        "Prints a script with which a shell completes commands, options and files. It "
        "is static: to complete runs no Python, and so takes no time."
    )
    parser.epilog = _EPILOG
    parser.add_argument("shell", metavar="SHELL", choices=shtab.SUPPORTED_SHELLS)


def main(args):
    """Runs the command.

    Args:
        args: The parsed arguments.

    Returns:
        The exit status.
    """
    whole = cli.parser(cli.COMMANDS)
    print(shtab.complete(whole, args.shell, preamble=compare.PREAMBLE))
    return 0
