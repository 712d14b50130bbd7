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
    with Servers(chief=1, ps=2, worker=2) as servers, log.open("w") as errors:
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


def check_equals_one_machine(found):
    """Compares to the bit where the rule promises bits and no norm sums up shards."""
    for case, groups in found.items():
        for group in groups.keys() - {"alone", "devices", "graph"}:
            for name, value in groups[group].items():
                expected = groups["alone"][name]
                if case in ("modern_tf1", "legacy", "legacy_momentum"):
                    np.testing.assert_array_equal(value, expected, f"{case} {name}")
                else:
                    np.testing.assert_allclose(
                        value, expected, 1e-5, 2e-6, err_msg=f"{case} {name}"
                    )


def test_slots_made_in_the_scheduled_function_train_as_one_machine(results):
    found = of(results, "slots_made_in_the_function")
    assert len(found) == 11
    check_equals_one_machine(found)


def test_slots_lie_on_the_server_of_their_shard(results):
    for case, groups in of(results, "slots_made_in_the_function").items():
        servers = set()
        for devices in groups.get("devices", {}).values():
            assert len(set(devices)) == 1, f"{case}: {devices}"
            servers.add(devices[0])
        if "devices" in groups:
            assert servers == {
                f"/job:ps/replica:0/task:{i}/device:CPU:0" for i in (0, 1)
            }


def test_rows_are_updated_on_the_server_of_their_shard(results):
    writes = {
        "modern": "ResourceScatterUpdate",
        "modern_tf1": "ResourceSparseApplyCenteredRMSProp",
        "legacy": "ResourceScatterUpdate",
        "legacy_momentum": "ResourceSparseApplyCenteredRMSProp",
    }
    found = of(results, "slots_made_in_the_function")
    for case, write in writes.items():
        placed = {}
        for kind, device in found[case]["graph"]["ops"]:
            placed.setdefault(kind, set()).add(device.partition("/device")[0])
        servers = {"/job:ps/replica:0/task:0", "/job:ps/replica:0/task:1"}
        # Also where slices are summed that share an index, and a root is taken.
        for kind in (write, "UnsortedSegmentSum"):
            assert placed[kind] == servers, f"{case} {kind}: {placed[kind]}"
        if write == "ResourceScatterUpdate":
            assert placed["Sqrt"] == servers


def test_tables_passed_train_as_one_machine(results):
    found = of(results, "tables_passed")
    assert len(found) == 2
    check_equals_one_machine(found)


def test_keras_models_train_in_a_custom_loop(results):
    found = of(results, "keras_models")
    assert len(found) == 4
    check_equals_one_machine(found)


def test_keras_fit_fails_with_an_optimizer_that_does_nothing(results):
    """Once this fails, `docs/distributing.md` has to be changed."""
    (groups,) = of(results, "keras_fit").values()
    assert "create_per_worker_dataset" in str(groups["fit"]["error"])


def test_a_checkpoint_goes_into_other_numbers_of_shards(results):
    found = of(results, "shards_of_another_number")
    assert len(found) == 2
    for groups in found.values():
        assert groups.keys() == {
            *("alone", "three", "before_slots", "from_cluster_to_one", "and_back")
        }
    check_equals_one_machine(found)


def test_workers_at_once_lose_no_step(results):
    for groups in of(results, "workers_at_once").values():
        assert groups["cluster"]["steps"] == 60
        for value in groups["cluster"].values():
            assert np.all(np.isfinite(value))


def test_a_worker_killed_and_started_changes_nothing(results):
    found = of(results, "a_worker_killed_and_started")
    assert len(found) == 2
    check_equals_one_machine(found)
