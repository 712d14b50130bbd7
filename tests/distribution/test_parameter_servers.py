"""`ParameterServerStrategy` with a `ClusterCoordinator` and sharded tables."""

import json
import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest
from cluster import Servers

PROGRAM = pathlib.Path(__file__).with_name("parameter_server_program.py")
TIMEOUT = 240


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    log = folder / "log"
    with Servers(ps=2, worker=2) as servers, log.open("w") as errors:
        program = subprocess.Popen(
            [sys.executable, PROGRAM, json.dumps(servers.addresses), folder],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        timer = threading.Timer(TIMEOUT, program.kill)
        timer.start()
        try:
            for line in program.stdout:
                if line.startswith("request"):
                    _, action, index = line.split()
                    getattr(servers, action)("worker", int(index))
                    program.stdin.write("done\n")
                    program.stdin.flush()
            program.wait()
        finally:
            timer.cancel()
            program.kill()
            program.communicate()
    assert program.returncode == 0, log.read_text()[-5000:]
    return np.load(folder / "results.npz")


def of(results, way):
    """Returns the values of a way to train, by optimizer and what was trained."""
    assert f"{way}:error" not in results, str(results[f"{way}:error"])
    found = {}
    for key in results.files:
        name, case, group, value = key.split(":")
        if name == way:
            found.setdefault(case, {}).setdefault(group, {})[value] = results[key]
    return found
