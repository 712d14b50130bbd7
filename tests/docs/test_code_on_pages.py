"""The code on the pages runs, and prints what they say."""

import os
import pathlib
import re
import subprocess
import sys

import pages
import pytest
import running

from keras_rmsprop.migration import cli

_WITH_CODE = [
    path
    for path in pages.PAGES
    if any(block.language in ("python", "console") for block in pages.blocks(path))
]


@pytest.mark.parametrize("path", _WITH_CODE, ids=pages.name)
def test_the_code_of_a_page_runs(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not pages.needs_own_process(path):
        running.run(path)
        return
    done = subprocess.run(
        [sys.executable, running.__file__, path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_few_blocks_are_not_run():
    """Only what another environment has to run is exempt, each with its reason."""
    exempt = [
        (pages.name(path), block.not_run)
        for path in pages.PAGES
        for block in pages.blocks(path)
        if block.not_run
    ]
    assert all(reason for _, reason in exempt)
    assert len(exempt) <= 5, exempt


@pytest.mark.parametrize("path", pages.PAGES, ids=pages.name)
def test_a_block_says_what_it_is(path):
    allowed = {"python", "console", "bash", "text", "json", "diff", "toml", "mermaid"}
    for block in pages.blocks(path):
        directive = block.language.startswith("{")
        assert directive or block.language in allowed, f"line {block.line}"


def _shell_lines():
    for path in pages.PAGES:
        for block in pages.blocks(path):
            if block.language in ("bash", "console"):
                text = block.code.replace("\\\n", " ")
                for line in text.splitlines():
                    yield pages.name(path), line.removeprefix("$ ")


def _command_lines():
    return [
        pytest.param(line, id=f"{page}-{i}")
        for i, (page, line) in enumerate(_shell_lines())
        if line.startswith("keras-rmsprop ")
    ]


@pytest.mark.parametrize("line", _command_lines())
def test_the_parser_takes_a_command_of_the_documentation(line):
    words = re.split(r"\s+#|\s[>|]\s", line)[0].split()
    assert cli._parse([word.strip("'\"") for word in words])


def test_installation_names_extras_and_programs_that_exist():
    project = (pages.ROOT / "pyproject.toml").read_text("utf-8")
    section = project.partition("[project.optional-dependencies]")[2].partition("\n[")[
        0
    ]
    extras = set(re.findall(r"^(\w+) = \[", section, re.M))
    for page, line in _shell_lines():
        assert not re.search(r"pip install (-q )?keras[-_]rmsprop", line), (
            f"{page}: the package is installed from a clone"
        )
        for named in re.findall(r"\.\[([\w,]+)\]", line):
            assert set(named.split(",")) <= extras, f"{page}: {line}"
        for script in re.findall(r"python3? ((?:\w+/)+\w+\.py)", line):
            assert pathlib.Path(pages.ROOT, script).is_file(), f"{page}: {line}"
