"""The compared programs: each turns a problem into a step that can be measured.

Where a peer has several documented modes, all are measured and the fastest counts.
Only stock Keras' `jit_compile=True` is a peer of its own, because targets compare
with stock Keras as it comes. Gradients and indices lie in variables that a compiled
step reads: to pass hundreds of tensors into a compiled function costs more than the
update of a small model, and of constants TensorFlow would compute in advance what a
step does with them. An eager step is handed tensors, as a tape returns them.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import importlib
import math
import os
import sys
from collections.abc import Callable, Mapping

if "tensorflow" not in sys.modules:
    # PyTorch for GPUs brings Triton and loads it with its compiler. Its LLVM aborts
    # the process where TensorFlow's has come first; the other way round they agree.
    with contextlib.suppress(ImportError):
        importlib.import_module("triton._C.libtriton")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from absl import logging  # noqa: E402

CORES = len(os.sched_getaffinity(0))


@dataclasses.dataclass(frozen=True)
class Hyper:
    """Hyperparameters, the same for all.

    The rate is small and gradients are of order 0.1, so that thousands of steps
    with the same gradient stay finite even in centered optimizers that do not
    guard against rounding.
    """

    momentum: float = 0.0
    centered: bool = False
    learning_rate: float = 1e-4
    rho: float = 0.9
    epsilon: float = 1e-7

    def as_keras(self):
        """Returns the arguments by the names that Keras gives them."""
        return dataclasses.asdict(self)

    def slots(self):
        """Returns how many slots the Keras 3 rule needs."""
        return 1 + (self.momentum > 0) + self.centered


@dataclasses.dataclass(frozen=True)
class Problem:
    """What to update.

    Attributes:
        shapes: The shapes of the variables.
        indices: None, or the rows that the gradients name, the same for each variable.
        dtype: Name of the dtype of variables and gradients.
    """

    shapes: tuple
    indices: np.ndarray | None = None
    dtype: str = "float32"

    @functools.cached_property
    def values(self):
        """The initial values, as float32 arrays."""
        return [_noise(shape) for shape in self.shapes]

    @functools.cached_property
    def gradients(self):
        """The gradients, or their rows, as float32 arrays."""
        if self.indices is None:
            return [_noise(shape) for shape in self.shapes]
        return [_noise((len(self.indices), *shape[1:])) for shape in self.shapes]

    def bytes(self):
        """Returns the bytes of all variables."""
        elements = sum(math.prod(shape) for shape in self.shapes)
        return elements * tf.as_dtype(self.dtype).size

    def bytes_moved(self, hyper):
        """Returns the bytes that no dense step can avoid to move.

        Each variable and slot is read and written, each gradient read.
        """
        return self.bytes() * (2 * (1 + hyper.slots()) + 1)


def _noise(shape):
    # One block, repeated: nothing measured depends on the values.
    block = np.random.default_rng(0).standard_normal(1 << 16, np.float32) * 0.1
    return np.resize(block, shape)


@dataclasses.dataclass(frozen=True)
class Program:
    """Something to measure.

    Attributes:
        step: Callable without arguments. It may return before the work is done.
        synchronize: Waits until the work of all steps is done.
        state: Returns the shape and bytes of each slot; None where none are kept.
        scale: What to multiply the measured time by.
        release: Gives the memory of its variables back.
    """

    step: Callable
    synchronize: Callable
    state: Callable | None = None
    scale: float = 1.0
    release: Callable = lambda: None


@dataclasses.dataclass(frozen=True)
class Peer:
    """An optimizer and the ways to run it.

    Attributes:
        label: How the report calls it.
        modules: The modules it needs.
        dense: For `"compiled"` and `"eager"`, the variants to measure by name:
            callables from a `Problem` and a `Hyper` to a `Program`.
        sparse: Likewise, for sparse gradients; empty where it has none.
        optimizer: From a `Hyper` to an optimizer for `model.compile`, or None.
        keras_module: Name of the Keras whose models it trains.
    """

    label: str
    modules: tuple
    dense: Mapping
    sparse: Mapping = dataclasses.field(default_factory=dict)
    optimizer: Callable | None = None
    keras_module: str = "keras"

    def missing(self):
        """Returns which of its modules cannot be imported."""
        return [name for name in self.modules if not _imports(name)]


def _imports(name):
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def uses_gpu():
    """Whether the programs run on a GPU."""
    return bool(tf.config.get_visible_devices("GPU"))


# TensorFlow.


def _synchronize_tensorflow():
    # Ops on a GPU are still under way when they return.
    tf.test.experimental.sync_devices()


def _value(array, dtype):
    # Multiplied, because TensorFlow may else share the array's memory, and a
    # variable would then get its own only when it is first written.
    return tf.cast(array, dtype) * 1


def _tensorflow(make, variable, run, problem, hyper):
    optimizer = make(hyper)
    variables = [variable(_value(array, problem.dtype)) for array in problem.values]
    sources = [tf.Variable(_value(array, problem.dtype)) for array in problem.gradients]
    indices = None if problem.indices is None else tf.Variable(problem.indices)
    if isinstance(optimizer, keras.optimizers.Optimizer):
        optimizer.build(variables)

    def apply(gradients):
        optimizer.apply_gradients(list(zip(gradients, variables)))

    return Program(
        step=run(apply, functools.partial(_read, sources, indices, problem.shapes)),
        synchronize=_synchronize_tensorflow,
        state=lambda: _state(optimizer),
        release=lambda: _release([*variables, *sources, *_variables_of(optimizer)]),
    )


def _read(sources, indices, shapes):
    values = [source.read_value() for source in sources]
    if indices is None:
        return values
    rows = indices.read_value()
    return [
        tf.IndexedSlices(value, rows, tf.constant(shape, tf.int64))
        for value, shape in zip(values, shapes)
    ]


def _compiled(apply, read, jit_compile=None):
    return tf.function(lambda: apply(read()), jit_compile=jit_compile, autograph=False)


def _eagerly(apply, read):
    gradients = read()
    return lambda: apply(gradients)


def _session(make, problem, hyper):
    """TF1 as its programs ran it: a graph, and a session that runs the step."""
    feeds = {}

    def variable(array, dtype=problem.dtype):
        # Fed, because a graph holds no constants of gigabytes.
        fed = tf.compat.v1.placeholder(array.dtype, array.shape)
        feeds[fed] = array
        return tf.compat.v1.Variable(_value(fed, dtype), use_resource=True)

    with tf.Graph().as_default():
        variables = list(map(variable, problem.values))
        sources = list(map(variable, problem.gradients))
        indices = None
        if problem.indices is not None:
            indices = variable(problem.indices, problem.indices.dtype)
        optimizer = make(hyper)
        gradients = _read(sources, indices, problem.shapes)
        step = optimizer.apply_gradients(list(zip(gradients, variables)))
        state = _state(optimizer)
        session = tf.compat.v1.Session()
        session.run(tf.compat.v1.global_variables_initializer(), feeds)
    return Program(
        step=session.make_callable(step),
        synchronize=_synchronize_tensorflow,
        state=lambda: state,
    )


def _release(variables):
    # A `tf.function` that called `tf.distribute`, as stock Keras does in each step,
    # leaves the handles of its variables behind, and by them their memory.
    for variable in variables:
        if isinstance(variable, keras.Variable):
            variable = variable.value
        tf.raw_ops.AssignVariableOp(
            resource=variable.handle, value=tf.zeros([0], variable.dtype)
        )


def _variables_of(optimizer):
    variables = optimizer.variables
    return variables() if callable(variables) else variables  # Before Keras 3.


def _state(optimizer):
    return [
        (tuple(held.shape), math.prod(held.shape) * tf.as_dtype(held.dtype).size)
        for held in _variables_of(optimizer)
    ]


def _ours(hyper):
    import keras_rmsprop

    return keras_rmsprop.RMSprop(**hyper.as_keras())


def _ours_legacy(hyper):
    from keras_rmsprop import legacy

    return legacy.RMSprop(**hyper.as_keras())


def _tf1_arguments(hyper):
    arguments = hyper.as_keras()
    return {"decay": arguments.pop("rho"), **arguments}


def _ours_tf1(hyper):
    from compat_v1.train import RMSPropOptimizer

    return RMSPropOptimizer(**_tf1_arguments(hyper))


def _keras(hyper):
    return keras.optimizers.RMSprop(**hyper.as_keras())


def _tf_keras_legacy(hyper):
    import tf_keras

    return tf_keras.optimizers.legacy.RMSprop(**hyper.as_keras())


def _tf1(hyper):
    return tf.compat.v1.train.RMSPropOptimizer(**_tf1_arguments(hyper))


class _Nothing(keras.optimizers.Optimizer):
    """Has gradients computed, and does nothing with them."""

    def apply(self, grads, trainable_variables=None):
        with tf.control_dependencies(tf.nest.flatten(grads, expand_composites=True)):
            self._iterations.assign_add(1)


def _modes(make, variable=tf.Variable, session=False):
    """Returns the fields of a TensorFlow `Peer`."""
    compiled = {"": functools.partial(_tensorflow, make, variable, _compiled)}
    if session:
        compiled = {
            "tf.function": compiled[""],
            "Session": functools.partial(_session, make),
        }
    eager = {"": functools.partial(_tensorflow, make, variable, _eagerly)}
    return {
        "dense": {"compiled": compiled, "eager": eager},
        "sparse": {"compiled": compiled},
        "optimizer": make,
    }


# PyTorch.


def _torch(problem, hyper, foreach=None, compiled=False):
    import torch

    # Else the shapes of an earlier row would let this one be compiled for any shape.
    torch.compiler.reset()
    device = "cuda" if uses_gpu() else "cpu"
    placed = {"dtype": getattr(torch, problem.dtype), "device": device}
    parameters = [
        torch.nn.Parameter(torch.from_numpy(value).to(copy=True, **placed))
        for value in problem.values
    ]
    for parameter, gradient in zip(parameters, problem.gradients):
        parameter.grad = torch.from_numpy(gradient).to(copy=True, **placed)
    optimizer = torch.optim.RMSprop(
        parameters,
        hyper.learning_rate,
        alpha=hyper.rho,
        eps=hyper.epsilon,
        momentum=hyper.momentum,
        centered=hyper.centered,
        foreach=foreach,
    )
    return Program(
        step=torch.compile(optimizer.step) if compiled else optimizer.step,
        synchronize=torch.cuda.synchronize if device == "cuda" else lambda: None,
        state=lambda: [
            (tuple(value.shape), value.nbytes)
            for held in optimizer.state.values()
            for value in held.values()
            if torch.is_tensor(value)
        ],
    )


_TORCH = {
    "one by one": functools.partial(_torch, foreach=False),
    "foreach": functools.partial(_torch, foreach=True),
}
_TORCH_COMPILED = {"torch.compile": functools.partial(_torch, compiled=True)}
# Variants that compile for up to a minute: measured only in rows with a target.
SLOW_TO_COMPILE = frozenset(_TORCH_COMPILED)


# JAX.


def _optax(problem, hyper):
    import jax
    import jax.numpy as jnp
    import optax

    device = jax.devices("gpu" if uses_gpu() else "cpu")[0]

    def placed(arrays):
        return [jax.device_put(jnp.array(a, problem.dtype), device) for a in arrays]

    parameters, gradients = placed(problem.values), placed(problem.gradients)
    optimizer = optax.rmsprop(
        hyper.learning_rate,
        decay=hyper.rho,
        eps=hyper.epsilon,
        momentum=hyper.momentum or None,
        centered=hyper.centered,
    )
    held = [parameters, optimizer.init(parameters)]

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def update(parameters, state, gradients):
        updates, state = optimizer.update(gradients, state, parameters)
        return optax.apply_updates(parameters, updates), state

    def step():
        held[:] = update(*held, gradients)

    return Program(
        step=step,
        synchronize=lambda: jax.block_until_ready(held),
        state=lambda: [(leaf.shape, leaf.nbytes) for leaf in jax.tree.leaves(held[1])],
    )


# The machine.


def _numpy_add(problem, hyper):
    """In-place sums by NumPy, with one thread for each core."""
    elements = problem.bytes() // np.dtype(np.float32).itemsize
    total, added = np.zeros((2, elements), np.float32)
    pool = concurrent.futures.ThreadPoolExecutor(CORES)
    parts = list(zip(*(np.array_split(a, CORES) for a in (total, added))))
    for array in (total, added):
        array += 1.0  # Zeros have no memory of their own until written.
    return Program(
        step=lambda: list(pool.map(lambda part: np.add(*part, out=part[0]), parts)),
        synchronize=lambda: None,
        scale=problem.bytes_moved(hyper) / (3 * total.nbytes),
    )


def _tensorflow_add(problem, hyper):
    """In-place sums by TensorFlow, on whatever device it has."""
    elements = problem.bytes() // tf.float32.size
    total, added = (tf.Variable(tf.ones([elements])) for _ in range(2))
    return Program(
        step=tf.function(lambda: total.assign_add(added.read_value())),
        synchronize=_synchronize_tensorflow,
        scale=problem.bytes_moved(hyper) / (3 * elements * tf.float32.size),
    )


OURS = "ours"
KERAS = "keras"
LIMIT = "limit"
NOTHING = "nothing"

PEERS = {
    OURS: Peer("keras_rmsprop", ("keras_rmsprop",), **_modes(_ours, keras.Variable)),
    "ours-legacy": Peer(
        "keras_rmsprop.legacy", ("keras_rmsprop",), **_modes(_ours_legacy)
    ),
    "ours-tf1": Peer(
        "compat_v1.train",
        ("compat_v1",),
        **_modes(_ours_tf1, session=True) | {"optimizer": None},
    ),
    KERAS: Peer("stock Keras 3", ("keras",), **_modes(_keras, keras.Variable)),
    "keras-jit": Peer(
        "stock Keras 3, jit_compile",
        ("keras",),
        dense={
            "compiled": {
                "": functools.partial(
                    _tensorflow,
                    _keras,
                    keras.Variable,
                    functools.partial(_compiled, jit_compile=True),
                )
            }
        },
    ),
    "tf_keras": Peer(
        "tf_keras legacy",
        ("tf_keras",),
        **_modes(_tf_keras_legacy),
        keras_module="tf_keras",
    ),
    "tf1": Peer(
        "stock TF1",
        ("tensorflow",),
        **_modes(_tf1, session=True) | {"optimizer": None},
    ),
    "torch": Peer(
        "torch", ("torch",), {"compiled": _TORCH | _TORCH_COMPILED, "eager": _TORCH}
    ),
    "optax": Peer(
        "optax, jit, donated",
        ("jax", "optax"),
        {"compiled": {"": _optax}, "eager": {"": _optax}},
    ),
    NOTHING: Peer(
        "an optimizer that does nothing",
        ("keras",),
        dense={},
        optimizer=lambda hyper: _Nothing(hyper.learning_rate),
    ),
    LIMIT: Peer(
        "memory bandwidth",
        (),
        {
            "compiled": {
                "NumPy, all cores": _numpy_add,
                "TensorFlow": _tensorflow_add,
            }
        },
    ),
}


def prepare(device):
    """Chooses the device of all peers, before any of them is used.

    Args:
        device: `"cpu"`, or `"auto"` for a GPU where TensorFlow sees one.
    """
    gpus = [] if device == "cpu" else tf.config.list_physical_devices("GPU")
    tf.config.set_visible_devices(gpus, "GPU")
    for gpu in gpus:  # Several peers share it.
        tf.config.experimental.set_memory_growth(gpu, True)
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    tf.get_logger().setLevel("ERROR")
    logging.set_verbosity(logging.WARNING)


def left_out(chosen):
    """Finds the peers that cannot run here.

    Args:
        chosen: Names of peers.

    Returns:
        A dictionary from name to reason.
    """
    reasons = {}
    for name in chosen:
        missing = PEERS[name].missing()
        if missing:
            reasons[name] = f"cannot be imported: {', '.join(missing)}"
        elif uses_gpu() and name in _OTHERS and not _OTHERS[name][1]():
            reasons[name] = "installed without GPU support"
    return reasons


def devices(chosen):
    """Lists the devices in use.

    Args:
        chosen: Names of the peers that are measured.

    Returns:
        A dictionary from library to the names of its devices, and a list of
        warnings: of GPUs that another library sees and TensorFlow does not use.
    """
    used = {"TensorFlow": _tensorflow_gpus()}
    warnings = []
    for library, gpus in (_OTHERS[name] for name in chosen if name in _OTHERS):
        seen = gpus()
        used[library] = seen if uses_gpu() else []
        if seen and not uses_gpu():
            warnings.append(
                f"{library} sees {', '.join(seen)}, but TensorFlow uses no GPU, so "
                "all programs run on the CPU"
            )
    return {library: names or ["CPU"] for library, names in used.items()}, warnings


def _tensorflow_gpus():
    return [
        tf.config.experimental.get_device_details(gpu).get("device_name", gpu.name)
        for gpu in tf.config.get_visible_devices("GPU")
    ]


def _torch_gpus():
    import torch

    return [torch.cuda.get_device_name(gpu) for gpu in range(torch.cuda.device_count())]


def _jax_gpus():
    import jax

    return [device.device_kind for device in jax.devices() if device.platform == "gpu"]


# The peers that do not run on TensorFlow: their library, and the GPUs that it sees.
_OTHERS = {"torch": ("PyTorch", _torch_gpus), "optax": ("JAX", _jax_gpus)}
