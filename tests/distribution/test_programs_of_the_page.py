"""The programs of `docs/distributing.md` that need a cluster run on one."""

import os
import pathlib
import re
import subprocess
import sys

import pytest
from cluster import free_addresses

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "distributing.md"
TIMEOUT = 150


@pytest.fixture
def start(tmp_path):
    """A function that starts a Python program, killed in the end."""
    paths = [str(tmp_path), *filter(None, sys.path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    processes = []

    def start(*arguments):
        log = tmp_path / f"{len(processes)}.log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=tmp_path,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        processes.append(process)
        return process, log

    yield start
    for process in processes:
        process.kill()
        process.wait()


def test_the_coordinator_trains_with_servers_and_workers(start, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    marks = {
        "cluster.py": "CLUSTER =",
        "serve.py": "tf.distribute.Server(CLUSTER",
        "train.py": "ClusterCoordinator(strategy)",
    }
    for name, mark in marks.items():
        (block,) = (each for each in blocks if mark in each)
        if name == "cluster.py":
            machines = sorted(set(re.findall(r"[AB]:\d+", block)))
            assert len(machines) == 5
            for machine, address in zip(machines, free_addresses(5)):
                block = block.replace(machine, address)
        (tmp_path / name).write_text(block)
    for job in ("ps", "worker"):
        for index in ("0", "1"):
            start("serve.py", job, index)
    train, log = start("train.py")
    assert train.wait(TIMEOUT) == 0, log.read_text()[-5000:]
    assert (tmp_path / "trained.index").is_file()
