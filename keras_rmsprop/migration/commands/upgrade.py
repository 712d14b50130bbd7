"""`keras-rmsprop upgrade`: rewrites source code."""

import sys

from keras_rmsprop.migration.commands import FILE, check_output, explain
from keras_rmsprop.migration.files import replacing
from keras_rmsprop.migration.source import findings, options, upgrade_paths
from keras_rmsprop.migration.starting import load_tensorflow

_EPILOG = """\
exit status:
  0  done; with --check: nothing would change
  1  with --check: something would change; with --verify: something trains
     otherwise
  2  wrong usage, or a path that cannot be read or written

What cannot be decided is left alone and reported as path:line on standard
error, as is each assumption. It does not change the exit status.
"""


def add_arguments(parser):
    """Adds the arguments of the command to an argparse parser."""
    parser.description = (
        "Rewrites uses of RMSProp in TF1, tf.keras 1.x and 2.x and legacy Keras "
        "code, writing out every default that differs so that the numerics stay. "
        "Without --check or --write it prints the changes as a diff."
    )
    parser.epilog = _EPILOG
    parser.add_argument(
        "paths", nargs="+", metavar="FILE_OR_DIR", help=_PATHS_HELP
    ).complete = FILE
    parser.add_argument(
        "--to",
        choices=options.TARGETS,
        default="keras-rmsprop",
        help=_choices_help("what to rewrite to", options.TARGETS),
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--diff",
        action="store_true",
        help="print a unified diff and write nothing (the default)",
    )
    mode.add_argument(
        "--check",
        action="store_true",
        help="print the files that would change and exit with 1 if there are any",
    )
    mode.add_argument("--write", action="store_true", help="rewrite the files")
    parser.add_argument(
        "--assume",
        choices=options.ASSUMPTIONS,
        default="tf2.10",
        help=_choices_help(
            "what a spelling meant that several versions share", options.ASSUMPTIONS
        ),
    )
    parser.add_argument(
        "--accept",
        type=lambda text: text.split(","),
        default=[],
        metavar="DIFFERENCE[,DIFFERENCE]",
        help=_choices_help(
            "differences in the numerics that --to keras may make",
            options.DIFFERENCES,
            default=None,
        ),
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="train with each rewritten call and with the class that shipped, where "
        "TensorFlow or tf_keras have it, and say whether both train alike",
    )
    parser.add_argument(
        "--report", metavar="OUT.MD", help="also write the findings as Markdown"
    ).complete = FILE


_PATHS_HELP = (
    "Python files, notebooks and gin files, and directories to search for *.py, "
    "*.ipynb and *.gin, and for settings in *.yaml, *.json, *.sh and the like; hidden "
    " directories, virtual environments and links in them are passed over"
)


def _choices_help(what, choices, default="%(default)s"):
    listed = "; ".join(f"{name}: {text}" for name, text in choices.items())
    return f"{what}. {listed}" + (f" (default: {default})" if default else "")


def main(args):
    """Runs the command.

    Args:
      args: the parsed arguments.

    Returns:
      The exit status.
    """
    try:
        chosen = options.Options(to=args.to, assume=args.assume, accept=args.accept)
        check_output("report", args.report)  # Before any file is written.
        if args.verify:
            load_tensorflow()
        found, changes, differs = {}, False, False
        for file in upgrade_paths(
            args.paths,
            progress=_progress,
            to=chosen.to,
            assume=chosen.assume,
            accept=chosen.accept,
        ):
            told = [*file.upgrade.findings, *_verified(file, args)]
            found[file.path] = told
            changes |= file.upgrade.changed
            differs |= any(each.kind == findings.DIFFERS for each in told)
            _show(file, told, args)
        if args.report:
            with replacing(args.report) as file:
                file.write(findings.markdown(found).encode(errors="replace"))
    except (OSError, ValueError) as error:
        explain("upgrade", error)
        return 2
    return int(differs or (args.check and changes))


def _verified(file, args):
    if not args.verify:
        return []
    # It trains, for which TensorFlow is loaded.
    from keras_rmsprop.migration.source import verification

    return verification.verify(file.upgrade)


def _progress(upgrades, count):
    """Shows on a terminal how far it is, where tqdm is installed."""
    try:
        import tqdm
    except ImportError:
        return upgrades
    # None: only where standard error is a terminal.
    return tqdm.tqdm(upgrades, total=count, unit="file", leave=False, disable=None)


def _show(file, told, args):
    """Writes, names or prints what changes in a file, and says what is to be said."""
    if file.upgrade.changed:
        if args.write:
            file.write()
        if args.write or args.check:
            print(file.path)
        else:
            print(file.diff(), end="")
    for finding in told:
        if finding.kind != findings.REWRITTEN:
            print(finding.at(file.path), file=sys.stderr)
