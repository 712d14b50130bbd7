"""Records what an RMSProp optimizer of a running program does, step by step.

This file needs NumPy and the TensorFlow that is there (1.4 or later, Python 3.5 or
later), nothing else: copy it beside the program. Then two lines record a run:

    import record_rmsprop
    recorder = record_rmsprop.Recorder("run.rmsprop", steps=200)
    optimizer = recorder.wrap(optimizer)   # before minimize, compile or the first step

It was printed by `keras-rmsprop recorder`; `keras_rmsprop.migration` reads the file.
Licence: Apache-2.0.
"""

import contextlib
import json
import os
import platform
import struct
import sys
import threading
import types
import warnings
import zlib

import numpy as np
import tensorflow as tf

_tf1 = getattr(tf.compat, "v1", tf)
MAGIC = b"keras_rmsprop.Recording 1\n"
# Sizes of header and data, their checksums, and the checksum of these twenty bytes.
PREFIX = struct.Struct("<IQII")
CHECKSUM = struct.Struct("<I")
DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
)


class RecordingFile(object):
    """Writes a recording: `start` once, then `gradients` and `values` for each step.

    Every record is in the file when its call returns, so that a process that is
    killed leaves all of them.

    Args:
        path: Path of the file, which must not exist.
    """

    def __init__(self, path):
        # Without a buffer, so that what is written is the system's, not the process's.
        self._file = open(path, "xb", buffering=0)  # noqa: SIM115 (closed by end)
        self._write_all([MAGIC])

    def start(self, header, names, start, start_slots, others=()):
        """Writes what the run starts from.

        Args:
            header: Dictionary with `"optimizer"`, `"generation"`, `"arguments"`,
                `"evaluated"`, `"clipped"`, `"versions"`, `"processor"`, `"steps"` and
                `"iterations"`, which `Recording` explains.
            names: Names of the variables.
            start: Their values, a list of arrays.
            start_slots: For each a dictionary of arrays by slot name.
            others: Pairs of a name and an array, the model's other variables.
        """
        arrays = _Arrays()
        header = dict(header, record="start")
        header["variables"] = [
            {
                "name": name,
                "value": arrays.add(value),
                "slots": {slot: arrays.add(slots[slot]) for slot in sorted(slots)},
            }
            for name, value, slots in zip(names, start, start_slots)
        ]
        header["others"] = [[name, arrays.add(value)] for name, value in others]
        self._write(header, arrays)

    def gradients(
        self, step, gradients, learning_rate, loss=None, batch=None, changed=()
    ):
        """Writes what a step was given.

        Args:
            step: Number of the step, from 0.
            gradients: For each variable an array, a pair of the values and indices of
                slices, or None.
            learning_rate: Float, as evaluated for the step.
            loss: Float, if known.
            batch: Nested tuples, lists and dictionaries of arrays, if known.
            changed: Pairs of a variable's index and its value, where something else
                than the optimizer has changed it since the last step.
        """
        arrays = _Arrays()
        header = {
            "record": "gradients",
            "step": step,
            "gradients": [arrays.add_gradient(gradient) for gradient in gradients],
            "learning_rate": float(learning_rate),
            "loss": None if loss is None else float(loss),
            "batch": arrays.add_nested(batch, "batch"),
            "changed": [[index, arrays.add(value)] for index, value in changed],
        }
        self._write(header, arrays)

    def values(self, step, checksums, values=None, others=None):
        """Writes what a step came to.

        Args:
            step: Number of the step.
            checksums: For each variable the `checksum` of its value after the step.
            values: The values, a list of arrays, or None to leave them out.
            others: Values of the other variables in their order, or None.
        """
        arrays = _Arrays()
        header = {
            "record": "values",
            "step": step,
            "checksums": list(checksums),
            "values": arrays.add_all(values),
            "others": arrays.add_all(others),
        }
        self._write(header, arrays)

    def end(self, steps, stopped=None):
        """Writes that no step follows, and closes the file.

        Args:
            steps: How many of the steps are valid.
            stopped: Why, if it is not that all steps are recorded.
        """
        self._write({"record": "end", "steps": steps, "stopped": stopped}, _Arrays())
        self._file.close()

    def close(self):
        """Closes the file without saying why; more steps might have followed."""
        self._file.close()

    def _write(self, header, arrays):
        header["arrays"] = arrays.described
        text = json.dumps(header, sort_keys=True).encode("utf-8")
        size, data_checksum = 0, 0
        for data in arrays.data:
            size += len(data)
            data_checksum = zlib.crc32(data, data_checksum)
        prefix = PREFIX.pack(
            len(text), size, zlib.crc32(text) & 0xFFFFFFFF, data_checksum & 0xFFFFFFFF
        )
        guard = CHECKSUM.pack(zlib.crc32(prefix) & 0xFFFFFFFF)
        self._write_all([prefix + guard + text] + arrays.data)

    def _write_all(self, parts):
        end = self._file.tell()
        try:
            for part in parts:
                part = memoryview(part)
                while part:
                    part = part[self._file.write(part) :]
        except OSError:
            # The disk is full, say: a part of a record would spoil those before it.
            self._file.seek(end)
            self._file.truncate()
            raise


def checksum(array):
    """Returns the CRC-32 of an array's bytes, little-endian and in C order."""
    return zlib.crc32(_bytes(np.asarray(array))) & 0xFFFFFFFF


def _bytes(array):
    """Returns the bytes of an array without copying them where they are in order."""
    native = ">" if sys.byteorder == "big" else "<"
    if array.dtype.byteorder.replace("=", native) == ">":
        array = array.byteswap()
    # As bytes: memory views know no bfloat16.
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))


class _Arrays(object):
    """The arrays of one record."""

    def __init__(self):
        self.described = []
        self.data = []

    def add(self, array, name="array"):
        array = np.asarray(array)
        if array.dtype.name not in DTYPES:
            raise ValueError(
                "A recording holds arrays of %s. Received: %s of %s"
                % (", ".join(DTYPES), name, array.dtype.name)
            )
        self.described.append([array.dtype.name, list(array.shape)])
        self.data.append(_bytes(array))
        return len(self.described) - 1

    def add_all(self, values):
        return None if values is None else [self.add(value) for value in values]

    def add_gradient(self, gradient):
        if gradient is None:
            return None
        if isinstance(gradient, tuple):
            values, indices = gradient
            return {"values": self.add(values), "indices": self.add(indices)}
        return self.add(gradient)

    def add_nested(self, nested, name):
        if nested is None:
            return None
        if isinstance(nested, dict):
            pairs = [
                [key, self.add_nested(nested[key], "%s[%r]" % (name, key))]
                for key in sorted(nested)
            ]
            return {"dict": pairs}
        if isinstance(nested, (list, tuple)):
            kind = "tuple" if isinstance(nested, tuple) else "list"
            members = [
                self.add_nested(each, "%s[%d]" % (name, i))
                for i, each in enumerate(nested)
            ]
            return {kind: members}
        return self.add(nested, name)


def _do_not_convert(function):
    """Keeps AutoGraph from rewriting a function, as it does not TensorFlow's own."""
    autograph = getattr(tf, "autograph", None)
    experimental = getattr(autograph, "experimental", None)
    decorate = getattr(experimental, "do_not_convert", None)
    return decorate(function) if decorate else function


class Recorder(object):
    """Records the first steps of one optimizer.

    A mistake in its use is an error before the first step. Once training runs it
    never stops it: what cannot be recorded ends the recording, with a warning and the
    reason in the file.

    Args:
        path: Path of the file, which must not exist. It is made at the first step.
        steps: Int > 0, how many steps to record. Defaults to 200.
        values_every: Int > 0, of how many steps one stores the values of the
            variables; all others store checksums of them. Defaults to 1.

    Raises:
        ValueError: If an argument is out of range, the file exists, or its directory
            does not.
    """

    def __init__(self, path, steps=200, values_every=1):
        self._path = os.path.abspath(path)
        self._steps = _checked_count("steps", steps)
        self._values_every = _checked_count("values_every", values_every)
        if os.path.lexists(self._path):
            raise ValueError(
                "`path` must name a file that does not exist. Received: path=%r" % path
            )
        if not os.path.isdir(os.path.dirname(self._path)):
            raise ValueError(
                "`path` must be in an existing directory. Received: path=%r" % path
            )
        self._lock = threading.RLock()
        self._file = None
        self._finished = False
        self._step = 0
        self._tickets = 0
        self._open = None
        self._api = None
        self._trained = None
        self._settings = None
        self._checksums = None
        self._model = None
        self._others = []
        self._plain = None
        # The steps that began and have not ended, by their tickets.
        self._abandoned = {}
        # What the next step is said to have: tensors of its graph, and values.
        self._symbolic = {}
        self._values = {}

    def wrap(self, optimizer):
        """Makes an optimizer record its steps.

        Args:
            optimizer: An RMSProp optimizer of TensorFlow or Keras, before it is used.

        Returns:
            The same object.

        Raises:
            ValueError: If it is no RMSProp optimizer that can be recorded.
        """
        api = _api(optimizer)
        with self._lock:
            is_wrapped = self._api is not None and self._api.optimizer is optimizer
            if self._finished or is_wrapped:
                return optimizer
            if self._file is not None:
                self._stop("another optimizer was given to the recorder")
                return optimizer
            self._api = api
            self._trained = None
        api.patch(self)
        return optimizer

    @_do_not_convert
    def loss(self, loss):
        """Records a loss with the next step, where the optimizer is not told it.

        Args:
            loss: Scalar tensor or number.

        Returns:
            The same object.
        """
        self._note("loss", loss)
        return loss

    @_do_not_convert
    def batch(self, *batch):
        """Records a batch with the next step.

        Args:
            *batch: Tensors or arrays, or nested tuples, lists and dictionaries of
                them.

        Raises:
            ValueError: If something in it is not dense numbers.
        """
        nested = batch[0] if len(batch) == 1 else batch
        self._note("batch", _checked_batch(nested, "batch"))

    def model(self, model, batches=False):
        """Records a model's variables, also those that are not trained.

        Executed eagerly, as in TensorFlow 2, it reads them now: call it when the
        model has its weights, before training. In a graph they are read in the first
        step.

        Args:
            model: A Keras model, or a list of variables.
            batches: Whether to record the batches that `fit` trains a Keras model on.
                Call it before `fit` in that case.

        Raises:
            ValueError: If there is no variable yet.
        """
        variables = list(getattr(model, "weights", model))
        if not variables:
            raise ValueError(
                "`model` must have its variables: build it first, by calling it on a "
                "batch. Received: model=%r" % model
            )
        eager = _executes_eagerly()
        self._model = [
            (variable, _native(variable).numpy() if eager else None)
            for variable in variables
        ]
        if batches:
            self._patch_train_step(model)

    def close(self):
        """Ends the recording before it has all steps."""
        with self._lock:
            self._stop("the program closed the recorder", warn=False)

    def _patch_train_step(self, model):
        if not hasattr(model, "train_step"):
            raise ValueError(
                "`batches` needs a Keras model with `train_step`, as since TensorFlow "
                "2.2; call `recorder.batch` instead. Received: model=%r" % model
            )
        take_batch = _do_not_convert(
            lambda data: self._note("batch", _checked_batch(data, "batch"))
        )

        # AutoGraph may convert this, as it would convert a user's own `train_step`.
        def train_step(original, data):
            take_batch(data)
            return original(data)

        _patch(model, "train_step", train_step)

    # Building a step: what is called when, and what it is given.

    def _take(self, api, pairs, call):
        """Takes a step through `call`, and records it.

        Args:
            api: The optimizer's `_Api`.
            pairs: List of gradients and variables.
            call: Function without arguments, the original.
        """
        symbolic, self._symbolic = self._symbolic, {}
        if self._finished:
            return call()
        if api is not self._api:
            self._stop(_TWO_OPTIMIZERS)
            return call()
        _check_replicas()
        if self._trained is None:
            self._trained = [variable for _, variable in pairs]
        gradients = self._in_order(pairs)
        api.prepare(pairs)
        if not self._keeps_settings(api):
            return call()
        symbolic = {name: each for name, each in symbolic.items() if _is_usable(each)}
        given = _Given(api, gradients, self._trained, symbolic)
        if _executes_eagerly():
            return self._take_eagerly(api, given, call)
        return self._take_in_graph(api, given, call)

    def _keeps_settings(self, api):
        """Returns whether the numbers that the optimizer works with are as before."""
        plain = api.plain_settings()
        if self._plain is None:
            self._plain = plain
        return not self._has_changed(self._plain, plain)

    def _has_changed(self, before, now):
        for name in sorted(now):
            if now[name] != before[name] and name not in _RATES:
                self._stop(
                    "%s changed from %r to %r, and a recording has one value of it"
                    % (name, before[name], now[name])
                )
                return True
        return False

    def _note(self, name, nested):
        """Keeps what the next step is said to have."""
        if any(map(_is_symbolic, _leaves(nested))):
            self._symbolic[name] = nested
        else:
            arrays = [np.array(_array(leaf)) for leaf in _leaves(nested)]
            self._values[name] = _filled(nested, iter(arrays))

    def _in_order(self, pairs):
        """Returns a gradient, or None, for each variable of the recording."""
        keys = [_key(variable) for variable in self._trained]
        gradients = [None] * len(keys)
        for gradient, variable in pairs:
            if _key(variable) not in keys:
                raise ValueError(
                    "A recorder follows one list of variables, that of the first "
                    "`apply_gradients`. Received: another variable, %r"
                    % _name(variable)
                )
            gradients[keys.index(_key(variable))] = gradient
        return gradients

    def _take_eagerly(self, api, given, call):
        if self._needs_start():
            start = _Start(api, self._trained, self._graph_others())
            self._begin(api, start, _arrays(start.tensors()))
        ticket = self._before(api, given, _arrays(given.tensors()))
        result = call()
        if ticket >= 0:
            values = self._trained + self._other_variables()
            self._after(ticket, *_arrays([_read(each) for each in values]))
        return result

    def _take_in_graph(self, api, given, call):
        ticket = self._record_before(api, given)
        with tf.control_dependencies([ticket]):
            result = call()
        updates = _updates(result)
        api.delay(updates, ticket)
        recorded = self._record_after(ticket, updates)
        return _after_all(recorded, result, updates)

    def _record_before(self, api, given):
        """Adds what records a step's start to a graph; returns the step's ticket."""
        start = _Start(api, self._trained, self._graph_others())
        with tf.device("/cpu:0"):
            begun = _when(
                _call(self._needs_start, [], tf.bool),
                lambda: _call(
                    lambda *arrays: self._begin(api, start, arrays),
                    start.tensors(),
                    tf.int64,
                ),
            )
            with tf.control_dependencies([begun]):
                return _when(
                    _call(self._is_active, [], tf.bool),
                    lambda: _call(
                        lambda *arrays: self._before(api, given, arrays),
                        given.tensors(),
                        tf.int64,
                    ),
                )

    def _record_after(self, ticket, updates):
        """Adds what records a step's end to a graph."""
        with tf.device("/cpu:0"), tf.control_dependencies(updates):

            def record():
                values = self._trained + self._other_variables()
                tensors = [ticket] + [_read(variable) for variable in values]
                return _call(self._after, tensors, tf.int64)

            begun = tf.greater_equal(ticket, 0, name="record_rmsprop_begun")
            return _when(begun, record)

    def _other_variables(self):
        """Returns the model's variables that the optimizer does not train."""
        keys = [_key(variable) for variable in self._trained]
        return [v for v, _ in self._model or [] if _key(v) not in keys]

    def _graph_others(self):
        """Returns those of them that are yet to be read, which live in a graph."""
        read = {_key(v) for v, value in self._model or [] if value is not None}
        return [v for v in self._other_variables() if _key(v) not in read]

    # Running a step: what is called with arrays.

    def _is_active(self):
        return np.array(not self._finished)

    def _needs_start(self):
        return np.array(not self._finished and self._file is None)

    def _begin(self, api, start, arrays):
        """Makes the file and writes what the run starts from."""
        with self._recording(api):
            if self._finished or self._file is not None:
                return np.int64(-1)
            found = start.restored(arrays)
            self._settings = found["settings"]
            self._checksums = [checksum(value) for value in found["values"]]
            file = RecordingFile(self._path)
            names = _unique(map(_name, self._trained + self._other_variables()))
            count = len(self._trained)
            file.start(
                self._header(api, found),
                names[:count],
                found["values"],
                found["slots"],
                list(zip(names[count:], self._start_of_others(found["others"]))),
            )
            self._file = file
        return np.int64(0)

    def _header(self, api, found):
        arguments, evaluated = api.arguments(found["settings"], found["rate"])
        return {
            "optimizer": _class_name(api.optimizer),
            "generation": api.shipped_generation(),
            "arguments": arguments,
            "evaluated": evaluated,
            "clipped": api.clips_before() and any(map(arguments.get, _CLIPPING)),
            "versions": _versions(api.optimizer),
            "processor": _processor(),
            "steps": self._steps,
            "iterations": found["iterations"],
        }

    def _start_of_others(self, read):
        unread = iter(read)
        values = {_key(variable): value for variable, value in self._model or []}
        found = [values[_key(variable)] for variable in self._other_variables()]
        return [next(unread) if value is None else value for value in found]

    def _before(self, api, given, arrays):
        """Writes what a step is given, and returns its ticket."""
        with self._recording(api):
            if self._finished:
                return np.int64(-1)
            found = given.restored(arrays)
            if self._has_changed(self._settings, found["settings"]):
                return np.int64(-1)
            self._check_abandoned()
            noted, self._values = dict(self._values, **found["noted"]), {}
            loss = noted.get("loss")
            sums = [checksum(value) for value in found["values"]]
            changed = [
                (index, found["values"][index])
                for index, (now, then) in enumerate(zip(sums, self._checksums))
                if now != then
            ]
            self._file.gradients(
                self._step,
                found["gradients"],
                found["rate"],
                None if loss is None else _number(loss),
                noted.get("batch"),
                changed,
            )
            self._tickets += 1
            self._open = self._tickets
            return np.int64(self._open)
        return np.int64(-1)

    def _check_abandoned(self):
        if self._open is None:
            return
        self._abandoned[self._open] = self._step
        if list(self._abandoned.values()).count(self._step) == 3:
            raise _Unrecordable(
                "steps begin but do not end: run the operation that `minimize` or "
                "`apply_gradients` returned, not one that it depends on"
            )

    def _after(self, ticket, *arrays):
        """Writes what a step came to."""
        with self._recording(self._api):
            if self._finished:
                return np.int64(-1)
            if ticket != self._open:
                # Those that were written since it began may hold its update.
                self._step = self._abandoned.get(int(ticket), self._step)
                raise _Unrecordable(
                    "two steps overlapped, as where several threads train the same "
                    "variables"
                )
            self._open = None
            values = arrays[: len(self._trained)]
            others = arrays[len(self._trained) :]
            self._checksums = [checksum(value) for value in values]
            number = self._step + 1
            stored = number % self._values_every == 0 or number == self._steps
            self._file.values(
                self._step,
                self._checksums,
                values if stored else None,
                others if stored and self._model else None,
            )
            self._step = number
            if number == self._steps:
                self._finished = True
                self._file.end(self._step)
        return np.int64(-1)

    @contextlib.contextmanager
    def _recording(self, api):
        """Turns whatever goes wrong into the end of the recording."""
        with self._lock:
            try:
                if api is not self._api and not self._finished:
                    raise _Unrecordable(_TWO_OPTIMIZERS)
                yield
            # Whatever it is: a run must not end because it could not be recorded.
            except Exception as error:
                known = isinstance(error, (_Unrecordable, EnvironmentError))
                self._stop(str(error) if known else repr(error))

    def _stop(self, reason, warn=True):
        if self._finished:
            return
        self._finished = True
        if warn:
            message = "%s: the recording stopped: %s" % (self._path, reason)
            # Called by TensorFlow's threads: no line of the program is to blame.
            warnings.warn(message, stacklevel=1)
        if self._file is not None:
            with contextlib.suppress(EnvironmentError):
                self._file.end(self._step, reason)


class _Unrecordable(Exception):
    """Says why no step can follow in a recording."""


_TWO_OPTIMIZERS = "two optimizers were given to the recorder"
# What the learning rate is called; it may change, and is recorded for each step.
_RATES = ("learning_rate", "lr")
_CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")


class _Start(object):
    """What is read before the first step.

    Args:
        api: The optimizer's `_Api`.
        variables: List of the variables that it trains.
        others: List of other variables to read.
    """

    def __init__(self, api, variables, others):
        self._api = api
        self._variables = variables
        self._others = others
        self._slots = [api.slots(variable) for variable in variables]

    def tensors(self):
        """Returns what to read, as a list of tensors."""
        tensors = [_read(variable) for variable in self._variables]
        for slots in self._slots:
            tensors += [_read(slots[name]) for name in sorted(slots)]
        tensors += [_read(variable) for variable in self._others]
        tensors += self._api.evaluated_settings()
        tensors.append(_tensor(self._api.rate(self._variables)))
        return tensors + [_tensor(self._api.iterations())]

    def restored(self, arrays):
        """Returns a dictionary of what was read."""
        arrays = iter(arrays)
        return {
            "values": [next(arrays) for _ in self._variables],
            "slots": [
                {name: next(arrays) for name in sorted(slots)} for slots in self._slots
            ],
            "others": [next(arrays) for _ in self._others],
            "settings": self._api.restored_settings(arrays),
            "rate": _number(next(arrays)),
            "iterations": int(next(arrays)),
        }


class _Given(object):
    """What is read before each step.

    Args:
        api: The optimizer's `_Api`.
        gradients: List of a gradient or None for each variable.
        variables: List of the variables.
        noted: Dictionary of nested tensors, the loss and the batch if known.
    """

    def __init__(self, api, gradients, variables, noted):
        self._api = api
        self._gradients = gradients
        self._variables = variables
        self._noted = [noted[name] for name in sorted(noted)]
        self._names = sorted(noted)

    def tensors(self):
        """Returns what to read, as a list of tensors."""
        tensors = [_tensor(self._api.rate(self._variables))]
        tensors += self._api.evaluated_settings()
        for gradient in self._gradients:
            if isinstance(gradient, tf.IndexedSlices):
                tensors += [gradient.values, gradient.indices]
            elif gradient is not None:
                tensors.append(gradient)
        tensors += [_read(variable) for variable in self._variables]
        return tensors + _leaves(self._noted)

    def restored(self, arrays):
        """Returns a dictionary of what was read."""
        arrays = iter(arrays)
        return {
            "rate": _number(next(arrays)),
            "settings": self._api.restored_settings(arrays),
            "gradients": [self._gradient(each, arrays) for each in self._gradients],
            "values": [next(arrays) for _ in self._variables],
            "noted": dict(zip(self._names, _filled(self._noted, arrays))),
        }

    def _gradient(self, gradient, arrays):
        if isinstance(gradient, tf.IndexedSlices):
            return next(arrays), next(arrays)
        return None if gradient is None else next(arrays)


def _call(function, tensors, dtype):
    """Adds a call of a Python function to a graph."""
    # `numpy_function` has taken the place of `py_func` in TensorFlow 1.14.
    call = getattr(tf, "numpy_function", None) or tf.py_func
    # XLA, which cannot compile it, shows the name.
    name = "recorder_needs_jit_compile_False"
    return tf.reshape(call(function, tensors, dtype, name=name), [])


def _when(predicate, function):
    """Adds what `function` adds, to be run where a tensor is true."""
    return tf.cond(predicate, function, lambda: tf.constant(-1, tf.int64))


def _updates(result):
    """Returns the operations to wait for, of what an optimizer returned in a graph."""
    if hasattr(_tf1.get_default_graph(), "outer_graph"):
        # A `tf.function` runs all that changes something, in its order.
        return []
    results = result if isinstance(result, list) else [result]
    # Operations, or tensors and variables that stand for them.
    return [each if isinstance(each, tf.Operation) else each.op for each in results]


def _after_all(recorded, result, updates):
    """Returns what an optimizer returned, so that running it runs the recorder too."""
    if not updates:
        return result
    if isinstance(result, list):
        return result + [recorded]
    if isinstance(result, tf.Tensor):
        with tf.control_dependencies([recorded]):
            return tf.identity(result)
    return tf.group(recorded, *updates)


def _executes_eagerly():
    return hasattr(tf, "executing_eagerly") and tf.executing_eagerly()


def _init_scope():
    """Enters where variables of an optimizer are made."""
    return (
        tf.init_scope() if hasattr(tf, "init_scope") else tf.control_dependencies(None)
    )


def _check_replicas():
    get = getattr(getattr(tf, "distribute", None), "get_strategy", None)
    count = get().num_replicas_in_sync if get else 1
    if count > 1:
        raise ValueError(
            "A recorder follows one replica; train on one to record. Received: a "
            "strategy with %d replicas" % count
        )


def _native(variable):
    """Returns the `tf.Variable` behind a variable of Keras 3."""
    is_keras = hasattr(variable, "path") and hasattr(variable, "value")
    return variable.value if is_keras else variable


def _key(variable):
    return id(_native(variable))


def _name(variable):
    return getattr(variable, "path", None) or variable.name.split(":")[0]


def _unique(names):
    """Returns names of which repeated ones have got a number."""
    found = []
    for name in names:
        unique, count = name, 0
        while unique in found:
            count += 1
            unique = "%s_%d" % (name, count)
        found.append(unique)
    return found


def _read(variable):
    """Returns the value of a variable as a tensor that is read anew."""
    native = _native(variable)
    return native.read_value() if hasattr(native, "read_value") else _tensor(native)


def _tensor(value):
    return tf.convert_to_tensor(value)


def _is_symbolic(leaf):
    # Tensors executed eagerly have none.
    return getattr(leaf, "graph", None) is not None


def _is_usable(nested):
    """Returns whether the current graph can use all of some tensors."""
    graphs, graph = [], _tf1.get_default_graph()
    while graph is not None:
        graphs.append(graph)
        graph = getattr(graph, "outer_graph", None)
    return all(leaf.graph in graphs for leaf in _leaves(nested) if _is_symbolic(leaf))


def _array(leaf):
    return np.asarray(leaf.numpy() if hasattr(leaf, "numpy") else leaf)


def _arrays(tensors):
    return [_array(tensor) for tensor in tensors]


def _number(array):
    # A learning rate may be complex, of complex variables.
    return float(np.real(np.asarray(array)).reshape(()).astype(np.float64))


def _leaves(nested):
    """Returns the tensors or arrays of nested tuples, lists and dictionaries."""
    if nested is None:
        return []
    if isinstance(nested, dict):
        nested = [nested[key] for key in sorted(nested)]
    if isinstance(nested, (list, tuple)):
        return [leaf for each in nested for leaf in _leaves(each)]
    return [nested]


def _filled(nested, leaves):
    """Returns the same structure with other leaves, taken from an iterator."""
    if nested is None:
        return None
    if isinstance(nested, dict):
        return {key: _filled(nested[key], leaves) for key in sorted(nested)}
    if isinstance(nested, (list, tuple)):
        filled = [_filled(each, leaves) for each in nested]
        return tuple(filled) if isinstance(nested, tuple) else filled
    return next(leaves)


def _checked_batch(nested, name):
    """Returns a batch, or raises a ValueError that says what cannot be recorded."""
    if isinstance(nested, dict):
        if not all(isinstance(key, str) for key in nested):
            raise ValueError("The keys of %s must be strings." % name)
        pairs = [(key, "%s[%r]" % (name, key)) for key in nested]
        return {key: _checked_batch(nested[key], inner) for key, inner in pairs}
    if isinstance(nested, (list, tuple)):
        pairs = [(each, "%s[%d]" % (name, i)) for i, each in enumerate(nested)]
        checked = [_checked_batch(each, inner) for each, inner in pairs]
        return tuple(checked) if isinstance(nested, tuple) else checked
    if nested is None:
        return None
    leaf = nested if _is_symbolic(nested) else _array(nested)
    dtype = getattr(leaf, "dtype", None)
    if getattr(dtype, "name", None) not in DTYPES:
        raise ValueError(
            "A batch must be of dense tensors or arrays of numbers. Received: "
            "%s=%r" % (name, nested)
        )
    return leaf


def _checked_count(name, value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(
            "`%s` must be a positive integer. Received: %s=%r" % (name, name, value)
        )
    return value


def _class_name(optimizer):
    return "%s.%s" % (type(optimizer).__module__, type(optimizer).__name__)


def _versions(optimizer):
    root = type(optimizer).__module__.split(".")[0]
    keras = sys.modules.get(root) if "keras" in root else getattr(tf, "keras", None)
    return {
        "tensorflow": tf.__version__,
        "keras": getattr(keras, "__version__", None),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _processor():
    with contextlib.suppress(EnvironmentError), open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


# The optimizers' APIs.


def _api(optimizer):
    """Returns the `_Api` of an optimizer, or raises a ValueError."""
    if not any("rmsprop" in base.__name__.lower() for base in type(optimizer).__mro__):
        raise ValueError(
            "`optimizer` must be an RMSProp optimizer of TensorFlow or Keras; of one "
            "that wraps another, wrap the inner one. Received: %s"
            % _class_name(optimizer)
        )
    backend = getattr(sys.modules.get("keras"), "backend", None)
    if hasattr(optimizer, "stateless_apply") and backend.backend() != "tensorflow":
        raise ValueError(
            "`optimizer` must run on TensorFlow. Received: an optimizer of Keras on "
            "the backend %r" % backend.backend()
        )
    for api in (_TF1, _Legacy, _Keras2, _Keras, _Keras2017):
        if api.covers(optimizer):
            return api(optimizer)
    raise ValueError(
        "`optimizer` must be of an API that this recorder knows. Received: %s"
        % _class_name(optimizer)
    )


class _Api(object):
    """What recording an optimizer of one API takes.

    Args:
        optimizer: The optimizer.
    """

    generation = None

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self._config = self._unknown = self._evaluated = None

    def shipped_generation(self):
        """Returns the generation, or None where a user's class may do otherwise."""
        root = type(self.optimizer).__module__.split(".")[0]
        shipped = ("tensorflow", "keras", "tf_keras", "keras_rmsprop", "compat_v1")
        return self.generation if root in shipped else None

    def patch(self, recorder):
        """Has the optimizer's methods call the recorder."""

        def apply_gradients(original, grads_and_vars, *args, **kwargs):
            pairs = list(grads_and_vars)
            self.note_arguments(*args, **kwargs)
            return recorder._take(self, pairs, lambda: original(pairs, *args, **kwargs))

        _patch(self.optimizer, "apply_gradients", _do_not_convert(apply_gradients))
        self._patch_losses(recorder, "minimize", "get_updates", "scale_loss")

    def note_arguments(self, *args, **kwargs):
        """Notes what else `apply_gradients` was called with."""

    def _patch_losses(self, recorder, *names):
        """Has methods that take a loss tell the recorder."""

        def method(original, loss, *args, **kwargs):
            return original(_noted(recorder, loss), *args, **kwargs)

        for name in names:
            if hasattr(self.optimizer, name):
                _patch(self.optimizer, name, _do_not_convert(method))

    def prepare(self, pairs):
        """Creates the optimizer's variables where they are missing.

        Args:
            pairs: List of gradients and variables.
        """
        if self._config is None:
            self._config, self._unknown = self._sorted_out(self.config())
        self.create(pairs)

    def config(self):
        """Returns the constructor's arguments, before the variables are created."""
        raise NotImplementedError

    def create(self, pairs):
        """Creates the optimizer's variables, in the scopes where it does so itself."""
        raise NotImplementedError

    def delay(self, updates, ticket):
        """Has operations wait for a ticket, if they do not yet."""

    @staticmethod
    def _sorted_out(config):
        """Returns the arguments that JSON can hold, and the names of the others."""
        known, unknown = {}, []
        for name in sorted(config):
            try:
                known[name] = _jsonable(config[name])
            except TypeError:
                unknown.append(name)
        return known, unknown

    def slots(self, variable):
        """Returns the slots of a variable by name."""
        raise NotImplementedError

    def iterations(self):
        """Returns how many steps the optimizer has counted: a variable or a number."""
        return self.optimizer.iterations

    def rate(self, variables):
        """Returns the learning rate of the next step: a tensor or a number."""
        raise NotImplementedError

    def settings(self):
        """Returns the other numbers a step depends on, by the names of arguments."""
        return {}

    def plain_settings(self):
        """Returns those that are Python numbers."""
        settings = self.settings()
        return {name: settings[name] for name in settings if _is_plain(settings[name])}

    def evaluated_settings(self):
        """Returns those that are not, as tensors in the order of their names."""
        settings = self.settings()
        names = sorted(name for name in settings if not _is_plain(settings[name]))
        self._evaluated = names
        return [_tensor(_called(settings[name])) for name in names]

    def restored_settings(self, arrays):
        """Returns them by name, taken from an iterator over their values."""
        return {name: _number(next(arrays)) for name in self._evaluated}

    def arguments(self, settings, rate):
        """Returns the constructor's arguments, and which are known by value only.

        Args:
            settings: Dictionary of the settings that had to be evaluated.
            rate: Float, the learning rate of the first step.
        """
        values = dict(settings, learning_rate=rate)
        evaluated = [name for name in self._unknown if name in values]
        return dict(
            self._config, **{name: values[name] for name in evaluated}
        ), evaluated

    def clips_before(self):
        """Returns whether gradients are clipped before they come to be recorded."""
        return False


def _patch(owner, name, function):
    """Replaces a method of an object, not of its class.

    Args:
        owner: The object.
        name: Name of the method.
        function: Takes the original and the arguments.
    """
    original, plain = getattr(owner, name), getattr(type(owner), name)

    # Bound, so that a copy of the object gets it bound to itself.
    def method(self, *args, **kwargs):
        if self is owner:
            return function(original, *args, **kwargs)
        return plain(self, *args, **kwargs)

    setattr(owner, name, types.MethodType(method, owner))


def _noted(recorder, loss):
    """Tells the recorder of a loss, or of what a function returns, and returns it."""
    if callable(loss):
        return lambda: _noted(recorder, loss())
    recorder._note("loss", loss)
    return loss


def _is_plain(value):
    return value is None or isinstance(value, (bool, int, float, str, np.number))


def _called(value):
    return value() if callable(value) and not hasattr(value, "dtype") else value


def _jsonable(value):
    """Returns a value as JSON can hold it; raises a TypeError where it cannot."""
    if isinstance(value, dict):
        return {str(key): _jsonable(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [_jsonable(each) for each in value]
    if isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0:
        return value.item()
    if _is_plain(value):
        return value
    if hasattr(value, "get_config"):
        config = _jsonable(value.get_config())
        return {"class_name": type(value).__name__, "config": config}
    raise TypeError("%r" % (value,))


class _TF1(_Api):
    """`tf.train.RMSPropOptimizer`, also as `tf.compat.v1.train`."""

    generation = "tf1"
    _global_step = None

    @staticmethod
    def covers(optimizer):
        # `tf.contrib.optimizer_v2` has a subclass that keeps its numbers elsewhere.
        is_tf1 = isinstance(optimizer, _tf1.train.Optimizer)
        return is_tf1 and hasattr(optimizer, "_learning_rate")

    def note_arguments(self, global_step=None, *_, **__):
        self._global_step = global_step

    def config(self):
        # Private names, the same since TensorFlow 0.5.
        names = ("learning_rate", "use_locking", "centered")
        config = {name: getattr(self.optimizer, "_" + name) for name in names}
        return dict(config, name=self.optimizer.get_name(), **self.settings())

    def create(self, pairs):
        with _init_scope():
            self.optimizer._create_slots([v for g, v in pairs if g is not None])

    def slots(self, variable):
        names = self.optimizer.get_slot_names()
        slots = {name: self.optimizer.get_slot(variable, name) for name in names}
        return {name: slots[name] for name in slots if slots[name] is not None}

    def iterations(self):
        return 0 if self._global_step is None else _read(self._global_step)

    def rate(self, variables):
        return _called(self.optimizer._learning_rate)

    def settings(self):
        names = ("decay", "momentum", "epsilon")
        return {name: getattr(self.optimizer, "_" + name) for name in names}


class _Legacy(_Api):
    """OptimizerV2: `tf.keras` of TensorFlow 1.13 to 2.10, later `optimizers.legacy`."""

    @property
    def generation(self):
        return "keras_2017" if self._is_2017() else "legacy"

    def _is_2017(self):
        # The class of 2017 lives on upon OptimizerV2 in compat_v1.
        return type(self.optimizer).__module__.endswith("optimizer_v1")

    @staticmethod
    def covers(optimizer):
        return hasattr(optimizer, "_decayed_lr")

    def config(self):
        names = ("epsilon", "centered", "sparse_updates") + _CLIPPING
        config = {name: getattr(self.optimizer, name, None) for name in names}
        config.update(self.optimizer._hyper, name=self.optimizer._name)
        if self._is_2017():
            config["lr"] = config.pop("learning_rate")
            names = ("lr", "rho", "epsilon", "decay", "clipnorm", "clipvalue")
            config = {name: config[name] for name in names}
        return {name: config[name] for name in config if config[name] is not None}

    def create(self, pairs):
        optimizer = self.optimizer
        variables = [_native(v) for g, v in pairs if g is not None]
        with tf.name_scope(optimizer._name), _init_scope():
            # What `apply_gradients` does before a step; one method since 2.3.
            if hasattr(optimizer, "_create_all_weights"):
                optimizer._create_all_weights(variables)
            else:
                optimizer.iterations  # noqa: B018 (made on first use)
                optimizer._create_hypers()
                optimizer._create_slots(variables)

    def slots(self, variable):
        slots = {}
        for name in self.optimizer.get_slot_names():
            # A variable without a gradient has none.
            with contextlib.suppress(KeyError):
                slots[name] = self.optimizer.get_slot(_native(variable), name)
        return slots

    def rate(self, variables):
        return self.optimizer._decayed_lr(_native(variables[0]).dtype.base_dtype)

    def settings(self):
        names = [name for name in self.optimizer._hyper if name not in _RATES]
        settings = {name: self.optimizer._get_hyper(name) for name in names}
        return dict(settings, epsilon=self.optimizer.epsilon)

    def clips_before(self):
        # Since 2.4, when `global_clipnorm` came, it is `apply_gradients` that clips.
        return not hasattr(self.optimizer, "global_clipnorm")


class _Lists(_Api):
    """What optimizers have in common that keep a list for each of their slots."""

    _slot_lists = {
        "rms": "_velocities",
        "mg": "_average_gradients",
        "momentum": "_momentums",
        "average": "_model_variables_moving_average",
        "gradient_accumulator": "_accumulated_gradients",
    }

    def config(self):
        with _init_scope():
            config = self.optimizer.get_config()
        rate = self.optimizer._learning_rate
        if callable(rate) and not hasattr(rate, "get_config"):
            # Of which the configuration has what it returned.
            config["learning_rate"] = rate
        return config

    def slots(self, variable):
        slots, index = {}, self._index(variable)
        for name in self._slot_lists:
            held = getattr(self.optimizer, self._slot_lists[name], None)
            if held and held[index] is not None:
                slots[name] = held[index]
        return slots

    def settings(self):
        names = ("rho", "momentum", "epsilon", "weight_decay", "clipvalue")
        names += ("clipnorm", "global_clipnorm")
        return {name: getattr(self.optimizer, name) for name in names}


class _Keras2(_Lists):
    """`tf.keras.optimizers.RMSprop` of TensorFlow 2.11 to 2.15, and of `tf_keras`."""

    generation = "keras2"

    @staticmethod
    def covers(optimizer):
        return hasattr(optimizer, "_index_dict") or hasattr(
            optimizer, "_build_learning_rate"
        )

    def create(self, pairs):
        scope = self.optimizer.name or "optimizer"
        with tf.name_scope(scope), _init_scope():
            self.optimizer.build([variable for _, variable in pairs])

    def _index(self, variable):
        return self.optimizer._index_dict[self.optimizer._var_key(variable)]

    def rate(self, variables):
        rate = self.optimizer._learning_rate
        is_schedule = hasattr(rate, "get_config")
        return rate(self.optimizer.iterations) if is_schedule else rate


class _Keras(_Lists):
    """`keras.optimizers.RMSprop` of Keras 3."""

    generation = "keras"

    @staticmethod
    def covers(optimizer):
        return hasattr(optimizer, "stateless_apply")

    def patch(self, recorder):

        def apply(original, grads, trainable_variables=None):
            grads, variables = list(grads), trainable_variables
            if variables is None:
                variables = self.optimizer._trainable_variables
            pairs = list(zip(grads, variables))
            return recorder._take(
                self, pairs, lambda: original(grads, trainable_variables)
            )

        _patch(self.optimizer, "apply", _do_not_convert(apply))
        self._patch_losses(recorder, "scale_loss")

    def create(self, pairs):
        if not self.optimizer.built:
            with _init_scope():
                self.optimizer.build([variable for _, variable in pairs])

    def _index(self, variable):
        return self.optimizer._get_variable_index(variable)

    def iterations(self):
        # Not `iterations` where both are there: that is less by accumulated steps.
        optimizer = self.optimizer
        return _read(getattr(optimizer, "_iterations", optimizer.iterations))

    def rate(self, variables):
        return _tensor(self.optimizer.learning_rate)


class _Rate(object):
    """Stands for the learning rate of the class of 2017 and keeps its first product.

    With `decay` that is the rate of the step. To make it a second time would be to read
    the step counter twice, and the class does not order its reads and its increment.
    """

    def __init__(self, rate):
        self._rate = rate
        self.product = None

    def __mul__(self, other):
        product = self._rate * other
        if self.product is None:
            self.product = product
        return product


class _Keras2017(_Api):
    """`tf.keras.optimizers.RMSprop` of TensorFlow 1.4 to 1.12, and Keras 2's own."""

    generation = "keras_2017"

    @staticmethod
    def covers(optimizer):
        return hasattr(optimizer, "get_updates")

    def patch(self, recorder):

        def get_gradients(original, loss, params):
            found = original(loss, params)
            recorder._note("loss", loss)
            self._pairs = list(zip(found, params))
            return found

        def get_updates(original, *args, **kwargs):
            rate = self.optimizer.lr
            self.optimizer.lr = self._rate = _Rate(rate)
            try:
                made = list(original(*args, **kwargs))
            finally:
                self.optimizer.lr = rate
            return recorder._take(self, self._pairs, lambda: made)

        _patch(self.optimizer, "get_gradients", get_gradients)
        _patch(self.optimizer, "get_updates", get_updates)

    def config(self):
        config = {"epsilon": self.optimizer.epsilon}
        for name in ("clipnorm", "clipvalue"):
            if getattr(self.optimizer, name, None) is not None:
                config[name] = getattr(self.optimizer, name)
        return config

    def create(self, pairs):
        """Does nothing: `get_updates` has created all."""

    def delay(self, updates, ticket):
        # They were made before the ticket could be, which reads their slots. The way
        # to make an operation wait has been private since TensorFlow 0.5.
        for update in updates:
            update._add_control_input(ticket.op)

    def slots(self, variable):
        keys = [_key(each) for _, each in self._pairs]
        slots = self.optimizer.weights[-len(keys) :]
        return {"rms": slots[keys.index(_key(variable))]}

    def rate(self, variables):
        has_decay = self.optimizer.initial_decay > 0
        return self._rate.product if has_decay else self.optimizer.lr

    def settings(self):
        return {name: getattr(self.optimizer, name) for name in ("lr", "rho", "decay")}

    def arguments(self, settings, rate):
        return dict(self._config, **settings), []

    def clips_before(self):
        return True
