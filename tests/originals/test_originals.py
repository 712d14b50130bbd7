"""This library's classes against what TensorFlow 1.4 to today really computed."""

import pathlib

import numpy as np
import optimizer_programs as programs
import pytest
import recordings
from absl.testing import parameterized
from optimizer_programs import STEPS, Problem
from recordings import FACES

from keras_rmsprop import legacy

# How far ours may be from what was recorded, variables and slots, in units in the
# last place: as measured, and 0 where nothing stands. Before 2.9 TensorFlow took roots
# of float32 and sums otherwise; `docs/migrating.md` has this as a table.
ULP = {
    (1, 4, 1): {
        "tf1 float32 dense": 128,
        "tf1 float32 sparse": 12,
        "tf1 float32 falling rate": 192,
        # The rate is computed in float32, and an ULP there is half a billion here.
        "tf1 float64 falling rate": 55166752832,
        "keras2017 float32 dense": 36,
        "keras2017 float32 sparse": 18,
        "keras2017 float32 norm": 33,
        "keras2017 float64 norm": 46,
    },
    (1, 12, 3): {
        "tf1 float32 dense": 128,
        "tf1 float32 falling rate": 64,
        "keras2017 float32 dense": 36,
        "keras2017 float32 sparse": 18,
        "keras2017 float32 norm": 24,
        "keras2017 float64 norm": 10,
    },
    (1, 15, 5): {
        "tf1 float32 dense": 128,
        "tf1 float32 falling rate": 64,
        "legacy float32 dense": 1024,
        "legacy float32 sparse": 14,
        "legacy float32 norm": 4288,
        "legacy float64 norm": 128,
    },
    (2, 0, 4): {
        "tf1 float32 dense": 128,
        "tf1 float32 falling rate": 64,
        "legacy float32 dense": 1024,
        "legacy float32 sparse": 14,
        "legacy float32 norm": 4288,
        "legacy float64 norm": 128,
        # Alone among versions it rounds slices otherwise in a function.
        "legacy float16 sparse in a function": 7,
        "legacy float64 sparse in a function": 4,
    },
    (2, 4, 4): {
        "tf1 float32 dense": 128,
        "tf1 float32 falling rate": 64,
        "legacy float32 dense": 1024,
        "legacy float32 sparse": 14,
        "legacy float32 norm": 2000,
        "legacy float64 norm": 128,
    },
    (2, 7, 4): {
        "tf1 float32 dense": 128,
        "tf1 float32 falling rate": 64,
        "legacy float16 dense": 2,
        "legacy float32 dense": 1024,
        "legacy float32 sparse": 14,
        "legacy float32 norm": 2000,
        "legacy float64 norm": 128,
    },
    (2, 11, 1): {
        # It takes reciprocal roots otherwise than TensorFlow does today.
        "keras2 float32 dense": 3584,
        "keras2 float32 sparse": 256,
        "keras2 float32 norm": 768,
        "keras2 float32 falling rate": 16,
    },
}
# What does not run, by version: that of the class, or what it was asked for.
REFUSED = {
    "tensorflow-1.4.1": {"callable", "epsilon"},
    "tensorflow-1.15.5": {"global_clipnorm"},
    "tensorflow-2.0.4": {"global_clipnorm"},
    "tensorflow-2.16.2-keras-3.0.5": {"callable"},
}
KERAS_NAMES = {"rms": "velocity", "mg": "average_gradient"}


def kind_of(run):
    """Returns the key of a run in `ULP`."""
    arguments = run["arguments"]
    kind = "sparse" if run["indices"] else "dense"
    if arguments.keys() & {"clipnorm", "global_clipnorm"}:
        kind = "norm"
    elif run["api"] != "legacy" and "xponential" in str(arguments.get("learning_rate")):
        kind = "falling rate"
    return f"{run['api']} {run['dtype']} {kind}"


def allowed_ulp(recording, run):
    """Returns the bound that stands in `ULP`."""
    bounds, kind = ULP.get(recording.version, {}), kind_of(run)
    bound = bounds.get(kind, 0)
    if run["mode"] == "function":
        return bounds.get(f"{kind} in a function", bound)
    return bound


def keras_tolerance(recording, run):
    """Returns how far the rule that promises no bits may be, as `distance` counts."""
    on_torch = recording.metadata["versions"]["backend"] == "torch"
    if run["dtype"] == "float16":
        # Keras scatters slices into its sums one by one.
        return 2**-9 if on_torch or run["indices"] else 0
    if on_torch and run["problem"] == "steady":
        # PyTorch takes the parts of the variance in another order, and there it is
        # what remains of rounding.
        return 3e-4
    return 1e-6


def takes_an_approximate_root(run):
    """Whether today's kernels take a reciprocal root as the processor has it.

    They do in float32, and with it in float16, in the sparse kernels and in
    `tf.math.rsqrt`.
    """
    kernel = run["api"] == "tf1" or "momentum" in run["arguments"]
    sparse = run["api"] != "keras3" and run["indices"] is not None and kernel
    return run["dtype"] != "float64" and (sparse or run["api"] == "keras2")


def is_clipped_otherwise(recording, run):
    """Whether the original clipped as no class here does: see the tests of it."""
    if "clipnorm" not in run["arguments"]:
        return False
    if run["api"] == "keras2017":
        return recording.version < (1, 12) and run["problem"] == "pair"
    older = run["api"] == "legacy" and recording.version < (2, 4)
    return older and "minimize" not in run["arguments"]


def ulp_distance(received, expected):
    """Returns the greatest distance, of elements that are finite in `expected`."""
    integer = np.dtype(f"int{8 * expected.itemsize}")

    def ordered(array):
        bits = np.atleast_1d(array).view(integer).astype(object)
        return np.where(bits < 0, np.iinfo(integer).min - bits, bits)

    finite = np.isfinite(np.atleast_1d(expected))
    distance = np.abs(ordered(received) - ordered(expected))
    return max(distance[finite], default=0)


def distance(received, expected):
    """Returns the greatest difference, relative to values above 1, likewise."""
    received, expected = (np.float64(array) for array in (received, expected))
    finite = np.isfinite(expected)
    difference = np.abs(received[finite] - expected[finite])
    return np.max(difference / np.maximum(1, np.abs(expected[finite])), initial=0)


def compared(recording, run, replayed):
    """Yields pairs of arrays, ours and what was recorded, that are to be equal.

    Where an original's variable became non-finite, so do its slots not count.
    """
    values, slots = replayed
    recorded = recording.values(run)
    assert len(values) == len(recorded)
    for ours, theirs in zip(values, recorded, strict=True):
        yield from zip(ours, theirs, strict=True)
    finite = [np.isfinite(part) for part in recorded[-1]]
    theirs = recording.slots(run)
    ours = (
        slots
        if slots.keys() == theirs.keys()
        else {name: slots[KERAS_NAMES.get(name, name)] for name in theirs}
    )
    assert len(slots) == len(theirs)
    for name, parts in theirs.items():
        for mine, part, counts in zip(ours[name], parts, finite, strict=True):
            yield np.asarray(mine)[counts], np.asarray(part)[counts]


def cases():
    """Yields each recording with each class that mirrors one in it."""
    for file, recording in recordings.recordings().items():
        apis = {run["api"] for run in recording.metadata["runs"]}
        for name, face in FACES.items():
            if face.api in apis:
                yield {"testcase_name": f"{name}_{file}", "file": file, "name": name}


class ReplayTest(parameterized.TestCase):
    @parameterized.named_parameters(*cases())
    def test_a_class_computes_what_its_original_did(self, file, name):
        recording, face = recordings.recordings()[file], FACES[name]
        here = recording.is_from_this_processor()
        approximate, count = [], 0
        for mode in face.modes:
            for run in recordings.runs_of(face, recording, mode):
                if is_clipped_otherwise(recording, run):
                    continue
                count += 1
                pairs = list(compared(recording, run, recordings.replay(name, run)))
                if not here and takes_an_approximate_root(run):
                    approximate.append(run)
                    # An ULP of 1 a step, which is more than one of a step.
                    bound = STEPS * np.finfo(run["dtype"]).eps
                    self.assert_close(run, pairs, bound)
                elif face.api != "keras3":
                    self.assert_within(run, pairs, allowed_ulp(recording, run))
                else:
                    self.assert_close(run, pairs, keras_tolerance(recording, run))
        self.assertGreater(count, 10)
        if approximate:
            # Shown by `-rP`.
            print(
                f"{len(approximate)} of {count} runs take a root that processors "
                f"approximate differently, and were recorded on "
                f"{recording.metadata['processor']}. Here, on "
                f"{recordings.processor()}, they were held to an ULP a step only."
            )

    def assert_within(self, run, pairs, ulp):
        found = max(ulp_distance(ours, theirs) for ours, theirs in pairs)
        self.assertLessEqual(found, ulp, f"ULP, in {_described(run)}")

    def assert_close(self, run, pairs, bound):
        found = max(distance(ours, theirs) for ours, theirs in pairs)
        self.assertLessEqual(found, bound, f"in {_described(run)}")


def _described(run):
    return {name: run[name] for name in ("api", "mode", *recordings.CASE)}


class RecordingsTest(parameterized.TestCase):
    def test_every_run_has_a_class_that_mirrors_it(self):
        for recording in recordings.recordings().values():
            for run in recording.metadata["runs"]:
                mirrored = any(
                    face.api == run["api"]
                    and run["mode"] in face.modes
                    and face.mirrors(run)
                    for face in FACES.values()
                )
                stock_slices = run["api"] == "keras3" and run["problem"] == "sparse"
                self.assertNotEqual(mirrored, stock_slices, _described(run))

    def test_the_readme_says_how_each_file_is_made(self):
        readme = (pathlib.Path(__file__).parent / "README.md").read_text()
        for recording in recordings.recordings().values():
            versions = recording.metadata["versions"]
            (line,) = (x for x in readme.splitlines() if f"`{recording.name}.npz`" in x)
            self.assertIn(recording.metadata["processor"]["model name"], line)
            for name in ("python", "numpy"):
                self.assertIn(f"| {versions[name]} |", line)
            packages = [
                f"{name}=={version.split('+')[0]}"
                for name, version in versions.items()
                if name not in ("python", "backend")
            ]
            commands = [
                x for x in readme.splitlines() if all(f"{p} " in x for p in packages)
            ]
            self.assertLen(commands, 1, packages)

    def test_what_an_original_refuses_is_known(self):
        for file, recording in recordings.recordings().items():
            known = REFUSED.get(file, set())
            found = recording.metadata["refused"]
            for run in found:
                names = {*run["arguments"], run["arguments"].get("learning_rate")}
                self.assertTrue(known & names, (file, run))
            self.assertEqual(bool(known), bool(found), file)

    def test_centered_originals_become_non_finite(self):
        for recording in recordings.recordings().values():
            apis = {
                run["api"]
                for run in recording.metadata["runs"]
                if run["problem"] == "steady"
                and not np.isfinite(recording.values(run)[-1][0]).all()
            }
            recorded = {run["api"] for run in recording.metadata["runs"]}
            self.assertEqual(apis, recorded - {"keras2017"}, recording.name)

    def test_all_problems_are_the_same(self):
        inputs = programs.problem_arrays()
        for recording in recordings.recordings().values():
            for name, array in recording.inputs.items():
                np.testing.assert_array_equal(array, inputs[name])


class ClippingTest(parameterized.TestCase):
    def test_before_2_4_apply_gradients_does_not_clip(self):
        for file in ("tensorflow-1.15.5", "tensorflow-2.0.4"):
            recording = recordings.recordings()[file]
            runs = [
                run
                for run in recording.metadata["runs"]
                if run["api"] == "legacy" and run["problem"] == "dense"
            ]
            unclipped = {
                (run["mode"], run["dtype"]): run["values"]
                for run in runs
                if run["arguments"] == {"learning_rate": 0.01}
            }
            asked = [run for run in runs if is_clipped_otherwise(recording, run)]
            self.assertNotEmpty(asked)
            for run in asked:
                key = run["mode"], run["dtype"]
                self.assertEqual(run["values"], unclipped[key], (file, key))

    def test_clipnorm_of_1_4_is_the_norm_of_all_gradients(self):
        recording = recordings.recordings()["tensorflow-1.4.1"]
        for run in recording.metadata["runs"]:
            if not is_clipped_otherwise(recording, run):
                continue
            problem = Problem(recording.inputs, run["problem"], run["dtype"])
            arguments = {"learning_rate": 0.01, "epsilon": 1e-8, "global_clipnorm": 0.5}
            ((values, _),) = programs.in_resource_graph(
                [
                    (
                        lambda p=problem, a=arguments: programs.Program(
                            legacy.RMSprop, p, a, None
                        ),
                        problem,
                    )
                ]
            )
            for ours, theirs in zip(values, recording.values(run), strict=True):
                for a, b in zip(ours, theirs, strict=True):
                    self.assertLess(distance(a, b), 1e-7, _described(run))


class BoundsTest(parameterized.TestCase):
    def test_from_2_9_on_tf1_and_legacy_have_no_bound_but_zero(self):
        for version, bounds in ULP.items():
            if version >= (2, 9):
                self.assertTrue(all(kind.startswith("keras2 ") for kind in bounds))

    def test_elsewhere_only_approximate_roots_are_excused(self):
        recording = recordings.recordings()["tensorflow-2.9.3"]
        excused = [
            run for run in recording.metadata["runs"] if takes_an_approximate_root(run)
        ]
        self.assertNotEmpty(excused)
        for run in excused:
            self.assertIsNotNone(run["indices"])
            self.assertNotEqual(run["dtype"], "float64")

    def test_another_make_of_processor_is_recognized(self):
        recording = next(iter(recordings.recordings().values()))
        processor = recording.metadata["processor"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recordings, "processor", lambda: processor)
            self.assertTrue(recording.is_from_this_processor())
            other = {**processor, "vendor_id": "another"}
            patch.setattr(recordings, "processor", lambda: other)
            self.assertFalse(recording.is_from_this_processor())

    def test_distances_are_counted_in_units_in_the_last_place(self):
        for dtype in ("float16", "float32", "float64"):
            a = np.array([1, 0, -1], dtype)
            b = np.nextafter(a, np.array(2, dtype), dtype=dtype)
            self.assertEqual(ulp_distance(a, b), 1)
            self.assertEqual(ulp_distance(a, -a), 2 * ulp_distance(a, 0 * a))
