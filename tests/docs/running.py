"""Runs the code of one page: `python tests/docs/running.py PAGE`, or `run` from a test.

The working directory is the page's folder for files.
"""

import ast
import contextlib
import doctest
import io
import os
import pathlib
import shlex
import subprocess
import sys

import pages

_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join(filter(None, [str(pages.ROOT), *sys.path])),
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TQDM_DISABLE": "1",
}


def run(path):
    """Runs what a page shows, and raises AssertionError where it prints otherwise."""
    namespace = {"__name__": "__main__"}
    for block in pages.blocks(path):
        if block.language == "python":
            printed = _python(block, path, namespace)
        elif block.language == "console" and not block.not_run:
            printed = _console(block, path)
        else:
            continue
        if block.output is not None:
            check(block.output, printed, path, block.line)


def check(wanted, got, path, line):
    """Raises AssertionError unless what was printed is what a page says."""
    if not doctest.OutputChecker().check_output(wanted, got, _FLAGS):
        place = f"{pages.name(path)}:{line}"
        raise AssertionError(f"{place} says\n{wanted}\nand it prints\n{got}")


def _python(block, path, namespace):
    # Line numbers and source lines are those of the page, in tracebacks too.
    code = "\n" * (block.line - 1) + block.code
    if block.not_run:
        ast.parse(code)
        return ""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, str(path), "exec"), namespace)
    return printed.getvalue()


def _console(block, path):
    """Runs the commands and checks what each prints; returns all that they print."""
    everything = []
    for number, command, wanted in _commands(block):
        done = subprocess.run(
            ["bash", "-c", _SHIM + command],
            env={**os.environ, **_ENVIRONMENT},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=False,
        )
        everything.append(done.stdout)
        if wanted:
            check(wanted, done.stdout, path, block.line + number)
        # 1 is how a command says that something differs.
        assert done.returncode in (0, 1), f"{command} exits with {done.returncode}"
    return "".join(everything)


# The commands as if this library were installed.
_SHIM = f"""
python() {{ {shlex.quote(sys.executable)} "$@"; }}
keras-rmsprop() {{ python -m keras_rmsprop.migration.cli "$@"; }}
"""


def _commands(block):
    """Gives the line, the command and the output of each `$ ` in a block."""
    found = []
    for number, line in enumerate(block.code.splitlines(keepends=True)):
        if line.startswith("$ "):
            found.append([number, line[2:], ""])
        elif found and found[-1][1].endswith("\\\n"):
            found[-1][1] += line
        else:
            found[-1][2] += line
    return found


if __name__ == "__main__":
    run(pathlib.Path(sys.argv[1]).resolve())
