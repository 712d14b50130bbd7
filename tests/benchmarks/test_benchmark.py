"""The benchmark's short form: that it works, and ratios with a generous margin."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from measuring import Effort, Figure, run_in_turn, time_in_turn
from peers import CORES, Program
from reporting import Report, check_outputs, draw, judge, markdown
from works import SIZES, Result, Target, rows, skewed_indices

_RUN = pathlib.Path(__file__).with_name("run.py")
# Runs the program with peers that fail.
_FAILING = f"""
import runpy, sys
sys.path.insert(0, {str(_RUN.parent)!r})
import peers
def fail(problem, hyper):
    raise ValueError("out of order")
for name in sys.argv.pop(1).split(","):
    peers.PEERS[name].dense["compiled"][""] = fail
runpy.run_path({str(_RUN)!r}, run_name="__main__")
"""


def _command(*arguments, program=(str(_RUN),)):
    return [sys.executable, *program, "--short", "--device=cpu", *arguments]


_ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1"}


def _run(*arguments, program=(str(_RUN),)):
    return subprocess.run(
        _command(*arguments, program=program),
        capture_output=True,
        text=True,
        check=False,
        env=_ENVIRONMENT,
    )


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Runs the program once; returns what it printed and the files it wrote."""
    folder = tmp_path_factory.mktemp("benchmark")
    files = {name: folder / f"out.{name}" for name in ("json", "plot", "markdown")}
    files["plot"] = folder / "out.png"
    measured = [
        "eager/161/momentum=0",
        "sparse/momentum=0.9",
        "growth/ours/momentum=0",
        "fresh/momentum=0",
        "import",
    ]
    done = _run(
        "--peers=ours,keras,tf1",
        f"--rows={','.join(measured)}",
        *(f"--{name}={path}" for name, path in files.items()),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, files


def _measured(outputs):
    return json.loads(outputs[1]["json"].read_text("utf-8"))


def _ratio(outputs, row):
    (found,) = [held for held in _measured(outputs)["rows"] if held["name"] == row]
    programs = found["programs"]
    return programs["ours"]["median"] / programs["keras"]["median"]


def test_every_requested_row_is_in_the_json_with_its_samples(outputs):
    report = _measured(outputs)
    assert report["machine"]["cores"] == CORES
    assert report["machine"]["packages"]["tensorflow"]
    assert report["machine"]["keras_rmsprop"]["version"]
    assert report["options"]["effort"] == {
        "repetitions": 3,
        "processes": 1,
        "seconds": 0.02,
    }
    assert report["failures"] == []
    names = {row["name"] for row in report["rows"]}
    assert {
        "eager/161/momentum=0",
        "sparse/momentum=0.9",
        "fresh/momentum=0/first_step",
        "fresh/momentum=0/slots",
        "import",
    } <= names
    sparse, *_ = [row for row in report["rows"] if row["name"].startswith("sparse")]
    assert list(sparse["programs"]) == ["ours", "keras", "tf1"]
    assert sparse["programs"]["tf1"]["variant"] in ("tf.function", "Session")
    for row in report["rows"]:
        for program in row["programs"].values():
            assert program["min"] <= program["median"] <= program["max"]


def test_targets_are_not_judged_at_other_sizes(outputs):
    targets = _measured(outputs)["targets"]
    assert targets
    assert {target["holds"] for target in targets} == {None}


def test_table_picture_and_markdown_are_written(outputs):
    printed, files = outputs
    assert "stock Keras 3" in printed
    assert "not judged" in printed
    assert files["plot"].read_bytes().startswith(b"\x89PNG")
    assert "### sparse/momentum=0.9" in files["markdown"].read_text("utf-8")


@pytest.mark.parametrize(
    ("row", "at_most"),
    [
        ("eager/161/momentum=0", 0.7),
        ("sparse/momentum=0.9", 0.5),
    ],
)
def test_steps_are_not_slower_than_a_margin_allows(outputs, row, at_most):
    assert _ratio(outputs, row) <= at_most


def test_no_more_slots_than_stock_keras(outputs):
    assert _ratio(outputs, "fresh/momentum=0/slots") == 1.0


@pytest.mark.parametrize("sizes", SIZES)
def test_every_target_names_programs_of_its_row(sizes):
    for name, row in rows(SIZES[sizes]).items():
        for target in getattr(row, "_targets", ()):
            if target.peer is not None:
                assert {target.ours, target.peer} <= row._programs.keys(), name


def test_indices_are_as_many_and_as_distinct_as_asked():
    indices = skewed_indices(10_000)
    assert len(indices) == 4096
    assert len(set(indices)) == 837
    assert indices.max() < 10_000


_BRIEF = Effort(repetitions=3, processes=2, seconds=0.001)


def _sleeping(seconds):
    return Program(step=lambda: time.sleep(seconds), synchronize=lambda: None)


def _failing():
    raise ValueError("out of order")


def test_the_fastest_variant_counts():
    programs = {
        "one": {"slow": lambda: _sleeping(0.02), "fast": lambda: _sleeping(0.001)}
    }
    figures, failures = time_in_turn(programs, _BRIEF)
    assert figures["one"].variant == "fast"
    assert len(figures["one"].samples) == 3
    assert failures == {}


def test_a_failing_variant_leaves_the_others_measured():
    def late():
        steps = iter(range(8))
        return Program(step=lambda: next(steps), synchronize=lambda: None)

    programs = {
        "one": {"broken": _failing, "whole": lambda: _sleeping(0.001)},
        "two": {"": _failing},
        "three": {"": late},
    }
    figures, failures = time_in_turn(programs, _BRIEF)
    assert figures.keys() == {"one"}
    assert figures["one"].variant == "whole"
    assert failures["one", "broken"] == "ValueError: out of order"
    assert failures.keys() == {("one", "broken"), ("two", ""), ("three", "")}


def test_a_failing_process_leaves_the_others_measured():
    commands = {
        "whole": ["-c", "print('noise'); print('{\"answer\": 42}')"],
        "broken": ["-c", "raise ValueError('out of order')"],
    }
    figures, failures = run_in_turn(commands, _BRIEF)
    assert figures == {"answer": {"whole": Figure([42, 42])}}
    assert failures.keys() == {"broken"}
    assert "out of order" in failures["broken"]


@pytest.mark.parametrize(("broken", "code"), [("keras", 0), ("ours,keras", 1)])
def test_a_run_outlives_a_failing_program(tmp_path, broken, code):
    files = {"json": tmp_path / "out.json", "plot": tmp_path / "out.png"}
    done = _run(
        "--rows=dense/one/momentum=0",
        "--peers=ours,keras,tf_keras",
        *(f"--{name}={path}" for name, path in files.items()),
        program=("-c", _FAILING, broken),
    )
    assert done.returncode == code, done.stderr
    report = json.loads(files["json"].read_text("utf-8"))
    assert [failure["peer"] for failure in report["failures"]] == broken.split(",")
    assert {failure["reason"] for failure in report["failures"]} == {
        "ValueError: out of order"
    }
    left = {"ours", "keras", "tf_keras"} - set(broken.split(","))
    assert [set(row["programs"]) for row in report["rows"]] == [left]
    assert files["plot"].read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_run_keeps_what_it_measured(tmp_path):
    path = tmp_path / "out.json"
    markdown_path = tmp_path / "out.md"
    running = subprocess.Popen(
        _command(
            "--rows=sparse/momentum=0,fresh/*",
            "--peers=ours",
            "--processes=99",
            f"--json={path}",
            f"--markdown={markdown_path}",
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=_ENVIRONMENT,
    )
    for line in running.stdout:
        if line.startswith("sparse/momentum=0"):
            break
    running.send_signal(signal.SIGTERM)
    running.communicate(timeout=60)
    assert running.returncode == 128 + signal.SIGTERM
    report = json.loads(path.read_text("utf-8"))
    assert [row["name"] for row in report["rows"]] == ["sparse/momentum=0"]
    assert "### sparse/momentum=0" in markdown_path.read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows=dense/none"], "--rows=dense/none: none is called 'dense/none'"),
        (["--rows=growth/tf1/*", "--peers=ours"], "nothing to measure"),
    ],
)
def test_a_mistaken_selection_is_named(arguments, message):
    done = _run(*arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"json": "none/out.json"}, "--json=none/out.json: there is no folder"),
        ({"markdown": "."}, "--markdown=.: a folder"),
        (
            {"json": "out", "markdown": "./out"},
            "--markdown=./out: the same file as --json",
        ),
        ({"plot": "out.gift"}, r"--plot=out.gift: the name must end in one of .*\.png"),
        ({"plot": "out"}, "--plot=out: the name must end in"),
        ({"json": "/proc/version"}, "--json=/proc/version: must be writable"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused(
    tmp_path, monkeypatch, outputs, message
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        check_outputs(outputs)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("target", "measured", "holds"),
    [
        (Target(0.5), 2 / 3, False),
        (Target(0.7), 2 / 3, True),
        (Target(None), 2 / 3, None),
        (Target(0.1, kind="difference"), -1.0, True),
        (Target(1.5, peer=None, kind="flatness", ours=None), 1.5, True),
    ],
)
def test_targets_are_judged_by_medians_of_single_repetitions(target, measured, holds):
    figures = {"ours": Figure([2.0, 1.0, 9.0]), "keras": Figure([3.0, 4.0, 8.0])}
    result = Result("row", "title", "s", figures, (target,))
    (verdict,) = judge(result, full=True)
    assert verdict.measured == measured
    assert verdict.holds is holds


_SAMPLES = st.lists(
    st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3), st.floats(1e-6, 1e3)),
    min_size=1,
    max_size=12,
)


@given(_SAMPLES)
def test_what_is_judged_lies_within_its_spread(samples):
    names = ("ours", "keras", "tf1")
    figures = {name: Figure(list(held)) for name, held in zip(names, zip(*samples))}
    targets = (
        Target(1.0),
        Target(1.0, kind="difference"),
        Target(1.0, peer=None, kind="flatness", ours=None),
    )
    for verdict in judge(Result("row", "title", "s", figures, targets), full=True):
        assert verdict.low <= verdict.measured <= verdict.high


def _report(*results):
    report = Report(
        machine={
            "cpu": "a processor",
            "cores": 2,
            "native kernels": "none",
            "memory": "1 GiB",
            "devices": {"TensorFlow": ["CPU"]},
            "os": "Linux",
            "python": "3",
            "keras_rmsprop": {"version": "1", "commit": None},
            "packages": {},
        },
        options={},
        warnings=["it is a test"],
        left_out={},
        results=list(results),
    )
    for result in results:
        report.verdicts += judge(result, full=True)
    return report


def test_a_ratio_to_no_memory_at_all_is_not_judged(tmp_path):
    figures = {"ours": Figure([1.0, 2.0]), "keras": Figure([0.0, -1.0])}
    result = Result("fresh", "title", "B", figures, (Target(1.0),))
    report = _report(result)
    (verdict,) = report.verdicts
    assert verdict.measured is verdict.low is verdict.high is verdict.holds is None

    def refuse(constant):
        raise AssertionError(constant)

    json.loads(report.to_json(), parse_constant=refuse)
    assert "not judged" in markdown(report)
    draw(report, tmp_path / "out.png")


@pytest.mark.parametrize(
    "results",
    [
        [],
        [Result("row", "title", "s", {"ours": Figure([1.0])})],
        [Result("growth", "title", "s", {10: Figure([1.0]), 100: Figure([1.0])})],
        [
            Result(
                "import",
                "title",
                "s",
                {"ours": Figure([0.1]), "keras": Figure([0.3])},
                (Target(0.1, kind="difference"),),
            )
        ],
    ],
)
def test_whatever_was_measured_can_be_drawn(tmp_path, results):
    draw(_report(*results), tmp_path / "out.png")
    assert (tmp_path / "out.png").stat().st_size > 0


def test_a_target_whose_peer_was_not_measured_gives_no_verdict():
    result = Result("row", "title", "s", {"ours": Figure([1.0])}, (Target(1.0),))
    assert judge(result, full=True) == []
