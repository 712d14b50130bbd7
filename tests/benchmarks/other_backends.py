"""The benchmark of Keras on JAX or PyTorch, beside the optimizers made for those.

TensorFlow need not be installed. Measured in one process, in turn, are the update of
ResNet-50's variables, of one large and of many small ones, and epochs of a small model.
"""

import dataclasses
import fnmatch
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping

import numpy as np
from absl import app, flags
from measuring import Effort, time_in_turn
from shapes import resnet50

_BACKEND = flags.DEFINE_enum("backend", None, ["jax", "torch"], "Backend of Keras.")
_ROWS = flags.DEFINE_list(
    "rows", ["*"], "Rows to measure: names or patterns such as 'small*'."
)
_SHORT = flags.DEFINE_boolean(
    "short", False, "Small sizes and short samples, to see that everything works."
)
_REPETITIONS = flags.DEFINE_integer(
    "repetitions", 11, "Samples of each program; 3 if short.", lower_bound=1
)
_SECONDS = flags.DEFINE_float(
    "seconds", 0.2, "What a sample lasts at least; 0.02 if short.", lower_bound=0.001
)
_JSON = flags.DEFINE_string("json", None, "File for all figures.")

# What ours may take of the time of others, by backend.
TARGETS = {"jax": {"keras": 1.0, "optax": 1.1}, "torch": {"keras": 1.0, "torch": 1.2}}
HYPER = {
    "momentum 0": {},
    "momentum 0.9": {"momentum": 0.9},
    "centered, momentum 0.9": {"momentum": 0.9, "centered": True},
}


@dataclasses.dataclass(frozen=True)
class Program:
    """Something to measure, as `measuring` takes it."""

    step: Callable
    synchronize: Callable
    scale: float = 1.0
    release: Callable = lambda: None


@dataclasses.dataclass(frozen=True)
class Library:
    """How a backend is driven.

    Attributes:
        array: Takes a NumPy array, returns one of the backend's.
        keras: Takes an optimizer, variables and gradients, returns a `Program` of
            the step in the way of `fit`.
        eager: Likewise, of a step taken eagerly.
        peers: Takes hyperparameters, arrays and gradients, returns the programs of
            the optimizers made for the backend, by name and variant.
        device: Name of the device.
    """

    array: Callable
    keras: Callable
    eager: Callable
    peers: Callable
    device: str


def run():
    """Runs this program; its flags are its own."""
    app.run(main)


def main(argv):
    """Measures, prints and judges."""
    if len(argv) > 1:
        raise app.UsageError(f"Unknown arguments: {argv[1:]}")
    os.environ["KERAS_BACKEND"] = _BACKEND.value
    library = {"jax": _jax, "torch": _torch}[_BACKEND.value]()
    effort = Effort(_REPETITIONS.value, 1, _SECONDS.value)
    if _SHORT.value:
        effort = Effort(3, 1, 0.02)
    print(f"{_BACKEND.value} on {library.device}, {_versions(_BACKEND.value)}\n")
    rows = {}
    for name, programs in _rows(library, _SHORT.value).items():
        if not any(fnmatch.fnmatchcase(name, pattern) for pattern in _ROWS.value):
            continue
        figures, failures = time_in_turn(programs(), effort)
        rows[name] = _judged(name, figures, TARGETS[_BACKEND.value])
        for (program, variant), reason in failures.items():
            print(f"  {program} {variant} failed: {reason}")
    if _JSON.value:
        with open(_JSON.value, "w") as file:
            json.dump({"device": library.device, "rows": rows}, file, indent=1)
    sys.exit(int(not all(row["ours"] for row in rows.values())))


def _rows(library, short):
    """Returns functions that make the programs of each row, by its name."""
    width, single, small = (8, 1 << 20, 50) if short else (1, 25_000_000, 200)
    shapes = {
        "ResNet-50": resnet50(width),
        "one variable": ((single,),),
        "1 to 4 MB": ((512, 512), (1024, 512), (1024, 1024)) * (1 if short else 4),
        "small variables": ((32, 32),) * small,
    }
    rows = {
        f"{what}, {which}": lambda s=s, hyper=hyper: _steps(library, s, hyper, "keras")
        for what, s in shapes.items()
        for which, hyper in HYPER.items()
    }
    for which, hyper in HYPER.items():
        rows[f"small variables, eager, {which}"] = lambda hyper=hyper: _steps(
            library, shapes["small variables"], hyper, "eager"
        )
    rows["an epoch of a small model"] = lambda: _epochs(10 if short else 100)
    return rows


def _steps(library, shapes, hyper, way):
    """Returns the programs that take a step."""
    import keras

    import keras_rmsprop

    block = np.random.default_rng(0).standard_normal(1 << 16, np.float32) * 0.1
    values = [np.resize(block, shape) for shape in shapes]

    def keras_program(kind):
        variables = [keras.Variable(value) for value in values]
        optimizer = kind(1e-4, **hyper)
        optimizer.build(variables)
        gradients = [library.array(value) for value in values]
        return getattr(library, way)(optimizer, variables, gradients)

    return {
        "ours": {"": lambda: keras_program(keras_rmsprop.RMSprop)},
        "keras": {"": lambda: keras_program(keras.optimizers.RMSprop)},
        **(library.peers(hyper, values) if way == "keras" else {}),
    }


def _epochs(batches):
    """Returns the programs that train a model for an epoch."""
    import keras

    import keras_rmsprop

    x = np.random.default_rng(0).normal(size=(32 * batches, 32)).astype("float32")

    def program(kind):
        model = keras.Sequential(
            [keras.Input((32,)), *(keras.layers.Dense(32) for _ in range(4))]
        )
        model.compile(kind(1e-4), "mse")
        return Program(lambda: model.fit(x, x, batch_size=32, verbose=0), lambda: None)

    return {
        "ours": {"": lambda: program(keras_rmsprop.RMSprop)},
        "keras": {"": lambda: program(keras.optimizers.RMSprop)},
    }


def _jax():
    import jax
    import jax.numpy as jnp
    import optax

    def donated(state, step, gradients):
        """Returns a program of a function from state and gradients to state.

        Of gradients that it closed over, XLA would compute squares beforehand.
        """
        held = {"state": state}
        compiled = jax.jit(step, donate_argnums=0)

        def once():
            held["state"] = compiled(held["state"], gradients)

        return Program(once, lambda: jax.block_until_ready(held["state"]))

    def in_fit(optimizer, variables, gradients):
        # Copies: what is donated is gone.
        state = (
            [jnp.copy(v.value) for v in optimizer.variables],
            [jnp.copy(v.value) for v in variables],
        )

        def step(state, gradients):
            trained, held = optimizer.stateless_apply(state[0], gradients, state[1])
            return held, trained

        return donated(state, step, gradients)

    def eager(optimizer, variables, gradients):
        return Program(
            lambda: optimizer.apply(gradients, variables),
            lambda: jax.block_until_ready([v.value for v in variables]),
        )

    def peers(hyper, values):
        def program():
            transformation = optax.rmsprop(
                1e-4,
                0.9,
                1e-7,
                0.0,
                True,
                hyper.get("centered", False),
                hyper.get("momentum"),
            )
            variables = [jnp.array(value) for value in values]
            gradients = [jnp.array(value) for value in values]

            def step(state, gradients):
                updates, held = transformation.update(gradients, state[0], state[1])
                return held, optax.apply_updates(state[1], updates)

            state = transformation.init(variables), variables
            return donated(state, step, gradients)

        return {"optax": {"": program}}

    return Library(jnp.array, in_fit, eager, peers, jax.devices()[0].device_kind)


def _torch():
    import torch

    # Where Keras puts its variables.
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    synchronize = torch.cuda.synchronize if on_gpu else lambda: None

    def array(value):
        return torch.tensor(value, device=device)

    def step(optimizer, variables, gradients):
        def once():
            with torch.no_grad():
                optimizer.apply(gradients, variables)

        return Program(once, synchronize)

    def peers(hyper, values):
        def program(compiled=False, **arguments):
            parameters = [torch.nn.Parameter(array(value)) for value in values]
            for parameter, value in zip(parameters, values):
                parameter.grad = array(value)
            optimizer = torch.optim.RMSprop(
                parameters, 1e-4, alpha=0.9, eps=1e-7, **hyper, **arguments
            )
            step = torch.compile(optimizer.step) if compiled else optimizer.step
            return Program(step, synchronize)

        return {
            "torch": {
                "loop": lambda: program(foreach=False),
                "foreach": lambda: program(foreach=True),
            },
            "torch, compiled": {"": lambda: program(compiled=True)},
        }

    name = torch.cuda.get_device_name() if on_gpu else platform.processor() or "cpu"
    return Library(array, step, step, peers, name)


def _judged(name, figures: Mapping, targets):
    """Prints a row and returns what is written of it."""
    print(name)
    row = {"ours": None}
    for program, figure in figures.items():
        line = f"  {program:16} {1e3 * figure.median:9.3f} ms  {figure.variant}"
        row[program] = figure.samples
        if program != "ours" and "ours" in figures:
            pairs = zip(figures["ours"].samples, figure.samples)
            ratio = statistics.median(ours / theirs for ours, theirs in pairs)
            line += f"  ours / this = {ratio:.2f}"
            if program in targets:
                verdict = "holds" if ratio <= targets[program] else "MISSED"
                line += f" (at most {targets[program]}: {verdict})"
        print(line, flush=True)
    print()
    return row


def _versions(backend):
    import importlib.metadata

    packages = ("keras", *{"jax": ("jax", "optax"), "torch": ("torch",)}[backend])
    return ", ".join(f"{p} {importlib.metadata.version(p)}" for p in packages)
