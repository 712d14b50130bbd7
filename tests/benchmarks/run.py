"""Measures RMSProp optimizers side by side, and says which targets hold.

Run `python tests/benchmarks/run.py --help` for the options, and with
`--backend=jax` or `--backend=torch` for Keras on that backend (`other_backends`). All
programs have all
cores, and each runs as its library sets itself up. (To make OpenMP's threads sleep
between steps, `OMP_WAIT_POLICY=PASSIVE`, would cost PyTorch a factor of ten where
variables are small.)
"""

import dataclasses
import fnmatch
import gc
import os
import signal
import sys

if any(argument.startswith("--backend") for argument in sys.argv[1:]):
    # Without TensorFlow, which the rest of this program imports.
    import other_backends

    other_backends.run()

# Read when TensorFlow loads.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
_LOAD = os.getloadavg()[0]  # Before the imports raise it.

import reporting  # noqa: E402
from absl import app, flags  # noqa: E402
from measuring import Effort  # noqa: E402
from peers import PEERS, devices, left_out, prepare  # noqa: E402
from works import FACES, SIZES, Options, rows  # noqa: E402

_EFFORTS = {
    "full": Effort(repetitions=11, processes=3, seconds=0.2),
    "short": Effort(repetitions=3, processes=1, seconds=0.02),
}
_QUIET = 0.5

_ROWS = flags.DEFINE_list(
    "rows",
    ["*"],
    "Rows to measure: names or patterns such as 'dense/*'. An unknown one prints all.",
)
_PEERS = flags.DEFINE_list(
    "peers", list(PEERS), f"Programs to measure, of {', '.join(PEERS)}."
)
_REPETITIONS = flags.DEFINE_integer(
    "repetitions", None, "Samples of each program; 11, or 3 if short.", lower_bound=1
)
_PROCESSES = flags.DEFINE_integer(
    "processes",
    None,
    "Samples that take a fresh process each; 3, or 1 if short.",
    lower_bound=1,
)
_SECONDS = flags.DEFINE_float(
    "seconds",
    None,
    "What a timed sample lasts at least; 0.2, or 0.02 if short.",
    lower_bound=0.001,
)
_SHORT = flags.DEFINE_boolean(
    "short", False, "Small sizes and short samples, to see that everything works."
)
_DEVICE = flags.DEFINE_enum(
    "device", "auto", ["auto", "cpu"], "auto: a GPU where TensorFlow sees one."
)
_JSON = flags.DEFINE_string("json", None, "File for all figures.")
_PLOT = flags.DEFINE_string("plot", None, "File for a picture.")
_MARKDOWN = flags.DEFINE_string("markdown", None, "File for all tables.")


def main(argv):
    """Runs the benchmark; returns 1 if one of ours failed."""
    sizes = "short" if _SHORT.value else "full"
    works = rows(SIZES[sizes])
    outputs = {
        flag.name: flag.value for flag in (_JSON, _MARKDOWN, _PLOT) if flag.value
    }
    try:
        if len(argv) > 1:
            raise ValueError(f"unexpected arguments: {' '.join(argv[1:])}")
        peers = _select(_PEERS, PEERS)
        selected = _select(_ROWS, works)
        reporting.check_outputs(outputs)
    except ValueError as error:
        raise SystemExit(f"run.py: {error}") from None

    prepare(_DEVICE.value)
    missing = left_out(peers)
    chosen = [name for name in peers if name not in missing]
    used, warnings = devices(chosen)
    if _LOAD > _QUIET:
        warnings.append(f"the machine is not quiet: its load was {_LOAD:.2f} at start")
    effort = dataclasses.replace(
        _EFFORTS[sizes],
        **{
            flag.name: flag.value
            for flag in (_REPETITIONS, _PROCESSES, _SECONDS)
            if flag.value is not None
        },
    )
    options = Options(effort=effort, sizes=sizes, device=_DEVICE.value)
    report = reporting.Report(
        machine=reporting.machine(used, _LOAD),
        options={"rows": selected, "peers": chosen} | dataclasses.asdict(options),
        warnings=warnings,
        left_out=missing,
    )
    print(reporting.opening(report), end="\n\n", flush=True)

    def finish():
        if report.verdicts:
            print(reporting.verdict_text(report.verdicts), flush=True)
        reporting.write(report, outputs)

    def stop(number, _):
        finish()
        # An exception would be lost where a destructor is interrupted.
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        for name in selected:
            # Taken out, so that its variables can go before the next row's come.
            _measure(name, works.pop(name), options, report)
            if _JSON.value:
                reporting.write(report, {"json": _JSON.value})
    finally:
        finish()
    if not (report.results or report.failures):
        raise SystemExit("run.py: nothing to measure: no row has these programs")
    failed = {failure.peer for failure in report.failures} | report.left_out.keys()
    return int(not failed.isdisjoint(FACES))


def _select(flag, known):
    """Returns the known names that a flag's patterns match, in their order."""
    for pattern in flag.value or [""]:
        if not fnmatch.filter(known, pattern):
            raise ValueError(
                f"--{flag.name}={','.join(flag.value)}: none is called {pattern!r}. "
                f"There are: {', '.join(known)}"
            )
    return [
        name
        for name in known
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in flag.value)
    ]


def _measure(name, work, options, report):
    results, failures = work.measure(name, report.options["peers"], options)
    report.failures += failures
    for failure in failures:
        print(reporting.failure_text(failure))
    for result in results:
        report.results.append(result)
        report.verdicts += reporting.judge(result, SIZES[options.sizes].full)
        print(reporting.text(result), end="\n\n", flush=True)
    if not (results or failures):
        print(f"{name}: has none of these programs", end="\n\n", flush=True)
    gc.collect()


if __name__ == "__main__":
    app.run(main)
