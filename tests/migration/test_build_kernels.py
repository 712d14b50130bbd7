"""`keras-rmsprop build-kernels`: what it installs, and what it leaves as it was."""

import os
import pathlib
import signal
import stat
import subprocess
import sys
import threading
import time
from unittest import mock

import pytest

from keras_rmsprop.core.native import building, library
from keras_rmsprop.migration import cli


@pytest.fixture
def directory(tmp_path):
    path = tmp_path / "kernels"
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    return path


def command(*arguments):
    """Runs the command; returns its exit status."""
    parsed = cli._parse(["keras-rmsprop", "build-kernels", *map(str, arguments)])
    return parsed.main(parsed)


def compiling(content=b"kernels"):
    """Has the compiler write this, which passes the test."""

    def compile_kernels(path):
        pathlib.Path(path).write_bytes(content)

    return mock.patch.multiple(
        building,
        compile_kernels=compile_kernels,
        test_kernels=lambda path: None,
        compiler=lambda: ["g++"],
    )


def test_it_installs_what_the_library_looks_for(directory, capsys):
    with compiling():
        assert command("--output", directory) == 0
    (installed,) = directory.iterdir()
    assert installed.name == library.file_name()
    assert stat.S_IMODE(installed.stat().st_mode) == 0o755
    library.check_trusted(installed)
    said = capsys.readouterr().out
    assert "Compiling with g++" in said and "Testing" in said
    assert f"export KERAS_RMSPROP_KERNELS={directory}" in said


def test_it_makes_the_directory_of_the_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv(library.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with compiling():
        assert command() == 0
    assert (tmp_path / "keras-rmsprop" / library.file_name()).exists()


@pytest.mark.parametrize("mode", [0o775, 0o777])
def test_a_directory_that_others_can_write_to_is_refused(directory, mode, capsys):
    directory.chmod(mode)
    with compiling():
        assert command("--output", directory) == 1
    assert "Others can write" in capsys.readouterr().err
    assert not list(directory.iterdir())


@pytest.mark.parametrize("step", ["compile_kernels", "test_kernels"])
def test_what_fails_leaves_what_was_there_and_says_why(directory, step, capsys):
    with compiling(b"earlier"):
        command("--output", directory)
    failure = mock.Mock(side_effect=building.BuildError("No space left on device"))
    with compiling(), mock.patch.object(building, step, failure):
        assert command("--output", directory) == 1
    assert "No space left on device" in capsys.readouterr().err
    (installed,) = directory.iterdir()
    assert installed.read_bytes() == b"earlier"


def test_parallel_builds_leave_one_whole_file(directory):
    content = os.urandom(1 << 20)
    with compiling(content):
        threads = [
            threading.Thread(target=command, args=("--output", directory))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (installed,) = directory.iterdir()
    assert installed.read_bytes() == content


def test_a_killed_build_leaves_what_was_there(directory, tmp_path):
    with compiling(b"earlier"):
        command("--output", directory)
    begun = tmp_path / "begun"
    slow = tmp_path / "slow-compiler"
    # Writes a part of its output, as it may be when the process is killed.
    slow.write_text(
        f"#!/bin/sh\nwhile [ $1 != -o ]; do shift; done\n"
        f'echo part > "$2"; touch {begun}; sleep 60\n'
    )
    slow.chmod(0o755)
    build = subprocess.Popen(
        [sys.executable, "-m", "keras_rmsprop.migration.cli"]
        + ["build-kernels", "--output", str(directory)],
        env={
            **os.environ,
            "CXX": str(slow),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        },
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not begun.exists():
            assert build.poll() is None
            time.sleep(0.05)
    finally:
        os.killpg(build.pid, signal.SIGKILL)
        build.wait()
    (installed,) = directory.glob("*.so")
    assert installed.read_bytes() == b"earlier"
    with compiling(b"later"):
        assert command("--output", directory) == 0
    assert installed.read_bytes() == b"later"


def test_the_compilers_message_is_shown(directory, monkeypatch, capsys, tmp_path):
    source = tmp_path / "wrong.cc"
    source.write_text("this is no C++")
    monkeypatch.setattr(library, "SOURCE", source)
    try:
        building.compiler()
    except building.BuildError as error:
        pytest.skip(f"native kernels: {error}")
    assert command("--output", directory) == 1
    assert "wrong.cc:1" in capsys.readouterr().err


def test_without_a_compiler_it_says_which_to_install(directory, monkeypatch, capsys):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(directory))
    assert command("--output", directory) == 1
    assert "g++" in capsys.readouterr().err


def test_kernels_that_cannot_be_loaded_fail_the_test(tmp_path):
    path = tmp_path / "empty.so"
    path.write_bytes(b"")
    with pytest.raises(building.BuildError, match="fail their test"):
        building.test_kernels(path)


def test_check_says_what_is_in_use_and_why(monkeypatch, capsys):
    library.find.cache_clear()
    try:
        monkeypatch.setenv(library.VARIABLE, "off")
        assert command("--check") == 1
        assert "KERAS_RMSPROP_KERNELS=off" in capsys.readouterr().out
    finally:
        library.find.cache_clear()
    assert command("--check", "--output", "anywhere") == 2


def test_wheels_and_source_distributions_hold_the_source():
    root = pathlib.Path(library.__file__).parents[3]
    if not (root / "pyproject.toml").exists():
        pytest.skip("runs in a checkout")
    declared = (root / "pyproject.toml").read_text()
    assert '"keras_rmsprop.core.native" = ["kernels.cc"]' in declared
    assert (
        subprocess.run(
            ["git", "ls-files", "--error-unmatch", str(library.SOURCE)],
            cwd=root,
            capture_output=True,
        ).returncode
        == 0
    )
