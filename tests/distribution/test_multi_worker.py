"""`MultiWorkerMirroredStrategy` in two processes."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from cluster import free_addresses

PROGRAM = pathlib.Path(__file__).with_name("multi_worker_program.py")
TIMEOUT = 200


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    path, logs = folder / "results.npz", [folder / "0.log", folder / "1.log"]
    addresses = free_addresses(2)
    workers = []
    try:
        for index, log in enumerate(logs):
            task = {"type": "worker", "index": index}
            config = {"cluster": {"worker": addresses}, "task": task}
            environment = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join(sys.path),
                "TF_CONFIG": json.dumps(config),
            }
            with log.open("w") as output:
                workers.append(
                    subprocess.Popen(
                        [sys.executable, PROGRAM, path],
                        env=environment,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                    )
                )
        codes = [worker.wait(TIMEOUT) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert codes[0] == 0, logs[0].read_text()[-5000:]
    return np.load(path)


def test_two_workers_train_as_one_machine_on_the_joint_batch(results):
    names = [name for name in results.files if ":workers:" in name]
    assert len(names) == 14
    for name in names:
        alone = results[name.replace(":workers:", ":alone:")]
        np.testing.assert_allclose(results[name], alone, 1e-5, 2e-6, err_msg=name)


def test_keras_fit_fails_with_an_optimizer_that_does_nothing(results):
    """Once this fails, `docs/distributing.md` has to be changed."""
    assert "PerReplica" in str(results["fit"])
