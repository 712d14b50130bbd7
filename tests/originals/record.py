"""Records what each RMSProp class of the installed TensorFlow or Keras computes.

    python record.py [FOLDER]

runs under every TensorFlow from 1.4 on, and under Keras 3 on any backend. It needs
nothing but these and NumPy, and no newer Python than 3.5. The README beside says
what the file holds that it writes into the folder.
"""

import io
import json
import os
import platform
import sys
import zipfile

import numpy as np
import optimizer_programs as programs
from optimizer_programs import INDICES, SNAPSHOTS, STEPS, Problem, problem_arrays, tf

PROCESSOR_KEYS = ("vendor_id", "cpu family", "model", "model name")
# Those flags that choose between programs, in TensorFlow or in the C library.
PROCESSOR_FLAGS = ("sse4_1", "sse4_2", "avx", "avx2", "fma", "avx512f")

DTYPES = ("float16", "float32", "float64")
HALF = {"epsilon": 1e-3}  # The defaults are nothing, or next to it.
EXACT = ("float32", "float64")
SINGLE = ("float32",)
MODES = {
    "tf1": ("graph_ref", "graph_resource", "eager", "function"),
    "keras2017": ("graph_ref", "graph_resource"),
    "legacy": ("graph_resource", "eager", "function"),
    "keras2": ("eager", "function"),
    "keras3": ("eager", "function"),
}
MOMENTUM = {"momentum": 0.9}
CENTERED = {"centered": True}
RULES = ({}, MOMENTUM, CENTERED, dict(MOMENTUM, **CENTERED))
SCHEDULES = (
    {
        "schedule": "ExponentialDecay",
        "initial_learning_rate": 0.02,
        "decay_steps": 7,
        "decay_rate": 0.9,
    },
    {
        "schedule": "PiecewiseConstantDecay",
        "boundaries": [10, 30],
        "values": [0.02, 0.01, 0.005],
    },
    {
        "schedule": "PolynomialDecay",
        "initial_learning_rate": 0.02,
        "decay_steps": 50,
        "power": 0.5,
    },
    {
        "schedule": "InverseTimeDecay",
        "initial_learning_rate": 0.02,
        "decay_steps": 7,
        "decay_rate": 0.5,
    },
)


def cases(api):
    """Returns the cases of one kind of class, each a dictionary that JSON can hold."""
    found = []

    def add(arguments, problem="dense", dtypes=SINGLE, indices="int64", modes=None):
        for dtype in dtypes:
            found.append(
                {
                    "api": api,
                    "problem": problem,
                    "dtype": dtype,
                    "indices": indices if problem in INDICES else None,
                    "arguments": _completed(api, arguments, dtype),
                    "modes": modes or MODES[api],
                }
            )

    for arguments in RULES if api != "keras2017" else RULES[:1]:
        for problem in ("dense", "sparse"):
            add(arguments, problem, DTYPES)
        for problem in ("scalar", "rank3"):
            add(arguments, problem)
        add(arguments, "sparse", indices="int32")
    if api != "keras2017":
        # Forgets soon that the means once were others.
        soon = {"decay" if api == "tf1" else "rho": 0.5}
        for arguments in RULES[2:]:
            add(dict(arguments, **soon), "steady", ("float16", "float32"))
    _ADD_SPECIAL[api](add)
    return found


def _completed(api, arguments, dtype):
    rate = "lr" if api == "keras2017" else "learning_rate"
    # Its default has changed: 1e-8 in TensorFlow 1.4, 1e-7 in 1.12.
    epsilon = {"epsilon": 1e-8} if api == "keras2017" else {}
    if dtype == "float16":
        epsilon = HALF
    return dict(dict({rate: 0.01}, **epsilon), **arguments)


def _add_tf1(add):
    add({"decay": 0.5, "momentum": 0.5, "epsilon": 1e-3}, dtypes=EXACT)
    add({"use_locking": True}, dtypes=EXACT)
    add(
        {"learning_rate": "placeholder"},
        dtypes=EXACT,
        modes=("graph_ref", "graph_resource"),
    )
    add({"learning_rate": "exponential_decay", "momentum": 0.9}, dtypes=EXACT)
    add({"learning_rate": "callable"})


def _add_keras2017(add):
    for problem in ("dense", "sparse", "pair"):
        add({"clipnorm": 0.5}, problem, EXACT)
        add({"clipvalue": 0.2}, problem)
    # Else it reads its step count in a race with the operation that increments it,
    # and results differ from run to run.
    add({"decay": 0.01, "counts_last": True}, dtypes=EXACT)
    add({"epsilon": None})
    add({"rho": 0.5, "epsilon": 1e-3, "lr": 0.1}, dtypes=EXACT)


def _add_legacy(add):
    # In TensorFlow 1.15 and 2.0 only `minimize` clips.
    _add_keras(add, {"minimize": True})
    add({"clipnorm": 0.5}, dtypes=EXACT)
    for arguments in ({}, MOMENTUM):
        add(dict(arguments, decay=0.01), dtypes=EXACT)
    add({"epsilon": None})


def _add_keras(add, clipping=None):
    clipping = clipping or {}
    for arguments in (clipping, dict(clipping, **MOMENTUM)):
        for problem in ("dense", "sparse"):
            add(dict(arguments, clipnorm=0.5), problem, EXACT)
            add(dict(arguments, clipvalue=0.2), problem)
    for problem in ("sparse", "pair"):
        add(dict(clipping, global_clipnorm=0.5), problem, EXACT)
    for schedule in SCHEDULES:
        add({"learning_rate": schedule}, dtypes=EXACT)
    add({"learning_rate": "callable"})
    add({"rho": 0.5, "epsilon": 1e-3, "momentum": 0.5}, dtypes=EXACT)


def _add_newer_keras(add):
    _add_keras(add)
    for arguments in RULES:
        add(arguments, "distinct", DTYPES)
    average = {"use_ema": True, "ema_momentum": 0.9}
    for problem in ("dense", "distinct"):
        add({"weight_decay": 0.01}, problem, EXACT)
        add({"weight_decay": 0.01, "momentum": 0.9}, problem)
        add(dict(average, ema_overwrite_frequency=None), problem, EXACT)
        add(dict(average, ema_overwrite_frequency=20, momentum=0.9), problem)


_ADD_SPECIAL = {
    "tf1": _add_tf1,
    "keras2017": _add_keras2017,
    "legacy": _add_legacy,
    "keras2": _add_newer_keras,
    "keras3": _add_newer_keras,
}


def shipped():
    """Yields kind, full name, class and schedules of each class that is there."""
    if tf is not None:
        v1 = programs.v1()
        name = "tf.train" if v1 is tf else "tf.compat.v1.train"
        yield "tf1", name + ".RMSPropOptimizer", v1.train.RMSPropOptimizer, None
        for found in _shipped_keras2():
            yield found
    if programs.keras is not None:
        optimizers = programs.keras.optimizers
        name = "keras.optimizers.RMSprop"
        yield "keras3", name, optimizers.RMSprop, optimizers.schedules


def _shipped_keras2():
    name, optimizers = _keras2_optimizers()
    if optimizers is None:
        return
    schedules = getattr(optimizers, "schedules", None)
    newest = optimizers.RMSprop
    if hasattr(newest, "update_step"):
        api = "keras2"
    else:
        api = "legacy" if hasattr(newest, "apply_gradients") else "keras2017"
    yield api, name + ".RMSprop", newest, schedules
    if api == "keras2":
        yield "legacy", name + ".legacy.RMSprop", optimizers.legacy.RMSprop, schedules


def _keras2_optimizers():
    if programs.keras is None:
        return "tf.keras.optimizers", tf.keras.optimizers
    if programs.tf_keras is None:
        return None, None
    return "tf_keras.optimizers", programs.tf_keras.optimizers


class Arrays(object):
    """Arrays of few dtypes and shapes, each kept once."""

    def __init__(self):
        self._tables = {}
        self._places = {}

    def add(self, array):
        """Returns the row of an array in the table of its dtype and shape."""
        array = np.asarray(array)
        table = self._tables.setdefault(table_name(array.dtype, array.shape), [])
        places = self._places.setdefault(id(table), {})
        if array.tobytes() not in places:
            places[array.tobytes()] = len(table)
            table.append(array)
        return places[array.tobytes()]

    def tables(self):
        """Returns the tables by name."""
        return {name: np.stack(rows) for name, rows in self._tables.items()}


def table_name(dtype, shape):
    """Returns the name of the table for arrays of a dtype and shape."""
    return "%s_%s" % (np.dtype(dtype).name, "x".join(map(str, shape)) or "scalar")


def record():
    """Returns what the file is to hold: metadata, and arrays by name."""
    inputs, modes = problem_arrays(), programs.modes()
    arrays, classes, runs, refused = Arrays(), {}, [], []
    for api, name, cls, schedules in shipped():
        classes[api] = name
        for case in cases(api):
            for mode in case.pop("modes"):
                case_of_mode = dict(case, mode=mode)
                if mode not in modes or (tf is None and case["indices"]):
                    continue  # Slices are TensorFlow's own.
                try:
                    trained = _train(inputs, cls, schedules, case_of_mode)
                except Exception as error:  # Whatever it is, it does not run there.
                    refused.append(dict(case_of_mode, error=type(error).__name__))
                    continue
                runs.append(dict(case_of_mode, **_kept(arrays, *trained)))
    metadata = {
        "versions": programs.versions(),
        "processor": processor(),
        "classes": classes,
        "steps": STEPS,
        "snapshots": SNAPSHOTS,
        "runs": runs,
        "refused": refused,
    }
    return metadata, dict(inputs, **arrays.tables())


def _train(inputs, cls, schedules, case):
    """Returns values and slots of one run."""
    problem = Problem(inputs, case["problem"], case["dtype"], case["indices"])
    program = programs.PROGRAMS[case["api"]]

    def make():
        return program(cls, problem, case["arguments"], schedules)

    (trained,) = programs.modes()[case["mode"]]([(make, problem)])
    if trained[0][0][0].dtype != case["dtype"]:
        raise TypeError("There is no " + case["dtype"])  # JAX without its option.
    return trained


def _kept(arrays, values, slots):
    return {
        "values": [[arrays.add(part) for part in parts] for parts in values],
        "slots": {
            name: [arrays.add(part) for part in slots[name]] for name in sorted(slots)
        },
    }


def processor():
    """Returns what tells this processor from others, as far as the system says."""
    try:
        with open("/proc/cpuinfo") as file:
            lines = file.read().split("\n\n")[0].splitlines()
    except OSError:
        return {"machine": platform.machine(), "model name": platform.processor()}
    fields = dict(
        [part.strip() for part in line.split(":", 1)] for line in lines if ":" in line
    )
    flags = fields.get("flags", "").split()
    return dict(
        {key: fields[key] for key in PROCESSOR_KEYS if key in fields},
        machine=platform.machine(),
        flags=[flag for flag in PROCESSOR_FLAGS if flag in flags],
    )


def write(folder, metadata, arrays):
    """Writes the file, such that the same contents make the same bytes.

    Returns:
        Its path.
    """
    members = {"metadata.json": json.dumps(metadata, sort_keys=True).encode("ascii")}
    for name, array in arrays.items():
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        members[name + ".npy"] = buffer.getvalue()
    versions = metadata["versions"]
    names = ["tensorflow", "keras", "backend"]
    if versions.get("backend") in (None, "tensorflow"):
        names.remove("backend")
    parts = [
        versions[name] if name == "backend" else "%s-%s" % (name, versions[name])
        for name in names
        if name in versions
    ]
    path = os.path.join(folder, "-".join(parts) + ".npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name in sorted(members):
            # Without a time of its own a member has that of 1980.
            file.writestr(zipfile.ZipInfo(name), members[name], zipfile.ZIP_DEFLATED)
    return path


if __name__ == "__main__":
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    if hasattr(tf, "enable_eager_execution"):
        tf.enable_eager_execution()
    recorded = record()
    written = write(
        sys.argv[1]
        if len(sys.argv) > 1
        else os.path.dirname(os.path.abspath(__file__)),
        *recorded,
    )
    print(
        "%s: %d bytes, %s"
        % (
            written,
            os.path.getsize(written),
            ", ".join(
                "%d %s" % (len(recorded[0][kind]), kind) for kind in ("runs", "refused")
            ),
        )
    )
