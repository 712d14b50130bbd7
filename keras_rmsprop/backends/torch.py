"""The step on PyTorch: in place, a block of elements at a time."""

import collections
import functools
from typing import NamedTuple

import keras
import torch
from keras.src.backend.common.stateless_scope import in_stateless_scope

from keras_rmsprop.backends import arrays
from keras_rmsprop.core import formula


class Blocks(NamedTuple):
    """In how many elements at a time variables are updated.

    Attributes:
        part: Of a large variable: what the formula needs in between should stay in a
            cache, and an operation be worth its call. Of 2**17 to 2**24, 2**19 took
            the least time on a CPU.
        together: Of small variables, as if they were one.
        small: Below which it costs more to call an operation than to take part in one.
    """

    part: int
    together: int
    small: int = 1 << 13


# Up to 1 << 15 elements most operations are done by one thread, which takes little
# longer and, on a busy machine, waits for no other.
CPU = Blocks(part=1 << 19, together=1 << 15)
# A device that has to be told of each operation has less to be told of.
DEVICE = Blocks(part=1 << 22, together=1 << 22)


class Step(arrays.Step):
    """How `keras_rmsprop.RMSprop` takes a step; sparse gradients are COO tensors."""

    # Not for the compiler of `jit_compile=True`, which may have the model: of what it
    # does not know, such as steps in blocks, it makes errors.
    @torch.compiler.disable
    @torch.no_grad()
    def apply(self, grads, trainable_variables=None):
        super().apply(grads, trainable_variables)

    apply.__doc__ = arrays.Step.apply.__doc__

    def _look_up(self):
        super()._look_up()
        self._kinds = {
            id(v): (v.value.shape, v.value.dtype, v.value.device)
            for v in self._trainable_variables
        }

    def add_optimizer_variables(self, *args, **kwargs):
        slots = super().add_optimizer_variables(*args, **kwargs)
        with torch.no_grad():
            _lay_together([slot for slot in slots if slot is not None])
        return slots

    def _fits_as_it_is(self, gradient, variable):
        # What most gradients are is found out first: all that is done for each
        # variable shows in steps of many small ones.
        return (
            self.built
            and isinstance(gradient, torch.Tensor)
            and gradient.layout is torch.strided
            and (gradient.shape, gradient.dtype, gradient.device)
            == self._kinds.get(id(variable))
        )

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        # Steps are taken in place, which what was passed in does not expect.
        return super().stateless_apply(
            [torch.clone(value) for value in optimizer_variables],
            grads,
            [torch.clone(value) for value in trainable_variables],
        )

    def _apply_weight_decay(self, variables):
        if self.weight_decay is None:
            return
        # Keras' own rounds the share that is kept, which loses most of a small decay.
        for variable in filter(self._use_weight_decay, variables):
            rate = keras.ops.cast(self.learning_rate, variable.dtype)
            variable.value.sub_(variable.value * self.weight_decay * rate)

    def _update_dense(self, rule, numbers, rate, grads, variables, slots):
        columns = zip(arrays.Slots._fields, zip(*slots))
        held = {name: each for name, each in columns if each[0] is not None}
        groups = collections.defaultdict(list)
        for row in zip(_tensors(variables), grads, *map(_tensors, held.values())):
            groups[row[0].dtype, row[0].device].append(row)
        for (dtype, device), rows in groups.items():
            hyper, has_epsilon = _scalars(rule, numbers, rate, dtype, device)

            def step(ops, value, gradient, *each, hyper=hyper, has_epsilon=has_epsilon):
                each = arrays.Slots(**dict(zip(held, each)))
                new, value = _updated(
                    ops, rule, hyper, has_epsilon, each, gradient, value
                )
                return value, *(each for each in new if each is not None)

            _in_blocks(step, rows, CPU if device.type == "cpu" else DEVICE)

    def _update_rows(self, rule, numbers, rate, gradient, variable, slots):
        gradient, value = gradient.coalesce(), variable.value
        hyper, has_epsilon = _scalars(rule, numbers, rate, value.dtype, value.device)
        indices = gradient.indices()[0]
        held = slots.map(lambda slot: slot.value[indices])
        new, rows = _updated(
            OPERATIONS[_can_look(value)],
            rule,
            hyper,
            has_epsilon,
            held,
            gradient.values(),
            value[indices],
        )
        for slot, each in zip(slots, new):
            if slot is not None:
                slot.value.index_copy_(0, indices, each)
        value.index_copy_(0, indices, rows)

    @staticmethod
    def _as_array(rate):
        if isinstance(rate, keras.Variable):
            return _tensors([rate])[0]
        return keras.ops.convert_to_tensor(rate)

    _is_sparse = staticmethod(
        lambda gradient: (
            isinstance(gradient, torch.Tensor) and gradient.layout is not torch.strided
        )
    )
    _densified = staticmethod(lambda gradient: gradient.to_dense())
    _names_rows = staticmethod(
        lambda gradient: (
            gradient.layout is torch.sparse_coo and gradient.sparse_dim() == 1
        )
    )
    _values = staticmethod(lambda g: g._values() if Step._is_sparse(g) else g)
    _summed = staticmethod(lambda g: g.coalesce() if Step._is_sparse(g) else g)

    @staticmethod
    def _with_values(gradient, values):
        return torch.sparse_coo_tensor(
            gradient._indices(),
            values,
            gradient.shape,
            is_coalesced=gradient.is_coalesced(),
            check_invariants=False,  # They are those of the gradient.
        )


def _can_look(tensor):
    """Whether values can be looked at: on a GPU they would have to be waited for."""
    return tensor.device.type == "cpu"


def _least(tensor):
    return tensor.amin().item() if _can_look(tensor) and tensor.numel() else None


def _magnitude(tensor):
    # A norm takes less time than the greatest of all magnitudes.
    return torch.linalg.vector_norm(tensor).item() if _can_look(tensor) else None


def _plus_quotient(tensor, rate, one, root):
    if isinstance(rate, torch.Tensor):
        return tensor.addcdiv_(rate * one, root)
    return tensor.addcdiv_(one, root, value=rate)


def _operations(new, overwrites):
    """Returns `Operations` that write into what the formula does not look at again.

    Args:
        new: Takes a tensor; returns memory for another like it, or None, for which
            PyTorch takes some anew.
        overwrites: Whether to write new means in place of the former: whichever
            elements rest has to be taken out again, and is known only on a CPU.
    """

    def target(tensor, spent):
        return tensor if spent else new(tensor)

    return formula.Operations(
        square=lambda tensor: torch.square(tensor, out=new(tensor)),
        plus_square=lambda tensor, x, factor: tensor.addcmul_(x, x, value=factor),
        minus_square=lambda tensor, x: torch.addcmul(
            tensor, x, x, value=-1, out=new(tensor)
        ),
        sqrt=lambda tensor, spent: torch.sqrt(tensor, out=target(tensor, spent)),
        rsqrt=torch.rsqrt,
        where=torch.where,
        zeros_like=torch.zeros_like,
        clip=torch.clip,
        isfinite=torch.isfinite,
        greatest=lambda tensor: (
            torch.finfo(tensor.dtype).max if tensor.dtype.is_floating_point else None
        ),
        least=_least,
        magnitude=_magnitude,
        times=torch.Tensor.mul_,
        plus_number=lambda tensor, number, spent: torch.add(
            tensor, number, out=target(tensor, spent)
        ),
        discounted=torch.Tensor.mul_ if overwrites else torch.mul,
        plus=lambda tensor, other, factor: tensor.add_(other, alpha=factor),
        toward=torch.Tensor.lerp_ if overwrites else torch.lerp,
        minus=torch.Tensor.sub_,
        plus_quotient=_plus_quotient,
        overwrites=overwrites,
    )


# For small variables, of which memory taken anew is at hand, by `_can_look`.
OPERATIONS = {
    can_look: _operations(lambda tensor: None, overwrites=can_look)
    for can_look in (True, False)
}


class _Scratch:
    """Memory for what the formula needs in between, the same for each block.

    To find pages for new memory takes a CPU longer than an operation.
    """

    ARRAYS = 2  # What most steps need; where elements rest, they take more anew.

    def __init__(self, like, elements):
        self._memory = like.new_empty(self.ARRAYS, elements)
        self._taken = 0

    def clear(self):
        """Gives all of it away again."""
        self._taken = 0

    def empty_like(self, tensor):
        """Returns a part of it, or None where not enough is left."""
        if self._taken == self.ARRAYS or tensor.numel() > self._memory.shape[1]:
            return None
        self._taken += 1
        return self._memory[self._taken - 1, : tensor.numel()].view(tensor.shape)


def _updated(ops, rule, hyper, has_epsilon, slots, gradient, value):
    """Returns what the step makes of slots and a variable, in their memory or new."""
    rounding = arrays.rounding(rule, slots)
    return formula.update(ops, rounding, slots, gradient, hyper, has_epsilon, value)


def _tensors(variables):
    """Returns the tensors of variables."""
    # Private: `Variable.value` looks for scopes and devices, twice as long as a small
    # one's step takes. In a scope of `stateless_apply` others stand for them.
    if in_stateless_scope():
        return [variable.value for variable in variables]
    return [variable._value for variable in variables]


_name_of = functools.lru_cache(keras.backend.standardize_dtype)


def _scalars(rule, numbers, rate, dtype, device):
    hyper, has_epsilon = arrays.scalars(rule, *numbers, _name_of(dtype))
    rate = rate.to(device, dtype)
    # Operations take a number along, where it can be known without waiting.
    if _can_look(rate):
        rate = rate.item()
    return hyper._replace(learning_rate=rate), has_epsilon


def _in_blocks(step, rows, blocks):
    """Takes a step for each row, of about so many elements at a time.

    Args:
        step: Takes `Operations` and tensors as in a row, returns the new
            variable and the new slots. The variable may be None: then returns what to
            subtract from it.
        rows: Lists of tensors of one dtype: a variable, its gradient, its slots.
        blocks: `Blocks`.
    """
    large, small, elements = [], [], 0
    for row in rows:
        count = row[0].numel()
        if count >= blocks.small:
            large.append(row)
            continue
        if not count:
            continue
        if elements + count > blocks.together:
            _together(step, small)
            small, elements = [], 0
        small.append(row)
        elements += count
    if small:
        _together(step, small)
    if large:
        _in_parts(step, large, blocks.part)


def _in_parts(step, rows, size):
    """Takes the steps of large variables."""
    size = min(size, max(variable.numel() for variable, *_ in rows))
    scratch = _Scratch(rows[0][0], size)
    operations = _operations(scratch.empty_like, overwrites=_can_look(rows[0][0]))
    for row in rows:
        variable, _, *slots = row
        if variable.numel() <= size or not all(
            tensor.is_contiguous() for tensor in (variable, *slots)
        ):
            parts = ([tensor] for tensor in row)
        else:
            parts = (tensor.reshape(-1).split(size) for tensor in row)
        for value, gradient, *held in zip(*parts):
            scratch.clear()
            stepped = step(operations, value, gradient, *held)
            for tensor, new in zip((value, *held), stepped):
                if new is not tensor:
                    tensor.copy_(new)


def _together(step, rows):
    """Takes the step of small variables as that of one."""
    variables, gradients, *slots = zip(*rows)
    lying = [_as_one(each) for each in slots]
    held = [_flattened(each) if one is None else one for each, one in zip(slots, lying)]
    operations = OPERATIONS[_can_look(variables[0])]
    taken, *new = step(operations, None, _flattened(gradients), *held)
    torch._foreach_sub_(variables, _unflattened(taken, variables))
    for each, one, stepped in zip(slots, lying, new):
        if one is None:
            torch._foreach_copy_(each, _unflattened(stepped, variables))
        elif one is not stepped:
            one.copy_(stepped)


# Private, but what PyTorch's own data parallelism packs gradients with, since 0.4.
_flattened = torch._utils._flatten_dense_tensors
_unflattened = torch._utils._unflatten_dense_tensors


def _lay_together(slots):
    """Moves the small ones of slots into common memory, in their order.

    There `_together` finds them as one, without a copy.
    """
    groups = collections.defaultdict(list)
    for slot in slots:
        if 0 < slot._value.numel() < CPU.small:
            groups[slot._value.dtype, slot._value.device].append(slot._value)
    for values in groups.values():
        for value, place in zip(values, _unflattened(_flattened(values), values)):
            value.data = place


def _as_one(tensors):
    """Returns those that follow each other in memory as one tensor, or None."""
    first, last = tensors[0], tensors[-1]
    start = end = first.data_ptr()
    for tensor in tensors:
        if tensor.data_ptr() != end or not tensor.is_contiguous():
            return None
        end += tensor.nbytes
    if first.untyped_storage().data_ptr() != last.untyped_storage().data_ptr():
        return None
    return first.as_strided(((end - start) // first.element_size(),), (1,))
