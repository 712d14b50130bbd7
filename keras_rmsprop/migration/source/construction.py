"""One place where an optimizer is constructed, and what is to become of it."""

import libcst as cst

from keras_rmsprop.migration.source import (
    computing,
    evidence,
    findings,
    imports,
    names,
    options,
    rewrites,
    tree,
)
from keras_rmsprop.migration.source.arguments import Arguments, realigned
from keras_rmsprop.migration.source.source_file import Undecided

KERAS_SIGNATURE = (
    "learning_rate",
    "rho",
    "momentum",
    "epsilon",
    "centered",
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "ema_momentum",
    "ema_overwrite_frequency",
    "loss_scale_factor",
    "gradient_accumulation_steps",
    "name",
)
_OLD_ONLY = frozenset({"lr", "decay"})
_NOT_V1 = frozenset({"learning_rate", "momentum", "centered", "global_clipnorm"})
_KERAS_3_ONLY = frozenset({"loss_scale_factor", "gradient_accumulation_steps"})
_NEW_ONLY = frozenset(KERAS_SIGNATURE[9:12]) | {"weight_decay"}
_ASSUMED = {
    "tf1.4": names.OPTIMIZER_V1,
    "tf2.10": names.OLD_KERAS,
    "keras2": names.KERAS2,
    "keras3": names.KERAS,
}
_LEGACY_POSITIONS = 6
# So many positional arguments OptimizerV2's class and that of Keras 3 have in common.
_SHARED = 5
# A third positional argument below this is an epsilon rather than a momentum.
_SMALLEST_MOMENTUM = 1e-2


def rewrite(file, node, call, spelled):
    """Decides on the generation and lets its rewrite plan the edit.

    Args:
      file: the `SourceFile`.
      node: the node to replace.
      call: the constructor call: `node` itself, or a new call that says the same.
      spelled: the generation that the name spells.

    Raises:
      Undecided: the place has to be left alone.
    """
    if call is node and file.assigns(call.func):
        raise Undecided(f"`{file.code(call.func)}` is assigned to in this file")
    construction = Construction(file, node, call, spelled)
    for handler in rewrites.handlers_of(construction.decide()):
        handler(construction)


class Construction:
    """A constructor call, with what the rewrites of all generations share.

    Attributes:
      to: the target of the upgrade.
    """

    def __init__(self, file, node, call, spelled):
        self.to = file.options.to
        self._file = file
        self._node = node
        self._call = call
        self._spelled = spelled
        self._remarks = []
        self._imports = []

    def decide(self):
        """Returns the generation, by its spelling, its arguments or assumption."""
        self._era = self._decided()
        return self._era

    def _decided(self):
        era = self._spelled
        keywords = {each.keyword.value for each in self._call.args if each.keyword}
        chosen = self._file.options
        found = evidence.in_file(self._file)
        assume, why = found or (chosen.assume, chosen.because)
        if assume == "tf1.4" and keywords & _NOT_V1:
            assume, why = "tf2.10", ""
        if era == names.AMBIGUOUS:
            era = self._era_by_arguments(keywords)
        if era == names.AMBIGUOUS:
            self._assume(f"it is {options.ASSUMPTIONS[assume]}", why)
            era = _ASSUMED[assume]
        if era == names.NEW_KERAS:
            if assume in ("keras2", "keras3"):
                self._assume(f"it is {options.ASSUMPTIONS[assume]}", why)
                return _ASSUMED[assume]
            self._assume(
                "it is Keras 3's class; `--assume keras2` takes it for that of "
                "TensorFlow 2.11 to 2.15"
            )
            return names.KERAS
        if era == names.OPTIMIZER_V1 == self._spelled and "epsilon" not in keywords:
            self._assume(
                "it means epsilon=1e-08, the default up to TensorFlow 1.4; after that "
                "it was 1e-07"
            )
        if era != names.OLD_KERAS:
            return era
        if assume == "tf1.4":
            return names.OPTIMIZER_V1
        self._check_third_position()
        if self._spelled != names.AMBIGUOUS or keywords & _OLD_ONLY:
            self._assume_epsilon(keywords)
        if "clipnorm" in keywords and self._is_standalone_keras:
            self.note("Keras up to 2.3 clipped the norm of all gradients together")
        return names.LEGACY

    def _era_by_arguments(self, keywords):
        """What the arguments say of an ambiguous spelling."""
        positional = [each.value for each in self._call.args if not each.keyword]
        if len(positional) > 2 and tree.literal(positional[2]) is None:
            return names.OPTIMIZER_V1  # Its epsilon: no momentum is ever None.
        if keywords & _OLD_ONLY:
            return names.OLD_KERAS
        if keywords & _KERAS_3_ONLY:
            return names.KERAS
        if "jit_compile" in keywords:
            return names.KERAS2
        if keywords & _NEW_ONLY or len(positional) > _LEGACY_POSITIONS:
            return names.NEW_KERAS
        return names.AMBIGUOUS

    def _assume_epsilon(self, keywords):
        if "epsilon" not in keywords:
            self._assume(
                "it means epsilon=1e-07, the default since Keras 2.1; before that it "
                "was 1e-08, which `--assume tf1.4` takes"
            )

    @property
    def is_spelled_compat_v1(self):
        return any(".compat.v1." in name for name in self._qualified)

    @property
    def is_spelled_as_stock(self):
        """Whether Keras 3 has its own class under the same name."""
        return self._spelled == names.AMBIGUOUS and self._call is self._node

    def arguments(self, signature, keywords=()):
        """Returns the call's arguments.

        Args:
          signature: the names of the positional arguments, in order.
          keywords: further names that may be given.

        Raises:
          Undecided: arguments are hidden, too many, or known by no such name.
        """
        arguments = Arguments(self._call, signature)
        for name in arguments.names:
            if name not in signature and name not in keywords:
                raise Undecided(f"`{name}` is no argument known here")
        return arguments

    def refuse(self, uses):
        """Raises Undecided where the constructed object is used in a way that bars it.

        Args:
          uses: a function of the file and the call that returns why, or None.
        """
        if self._call is self._node:
            reason = uses(self._file, self._call)
            if reason:
                raise Undecided(reason)

    def accept_differences(self, differences):
        """Raises Undecided where the target changes numerics that nobody gave up.

        Args:
          differences: what stock Keras 3 does differently, keys of `DIFFERENCES`.
        """
        refused = sorted(differences - self._file.options.accept)
        if self.to == "keras" and refused:
            what = "; ".join(options.DIFFERENCES[name] for name in refused)
            raise Undecided(
                f"stock Keras cannot keep its numerics: {what} "
                f"(`--accept {','.join(refused)}` gives that up)"
            )

    def is_computed(self, expression):
        """Whether an expression's value comes from TensorFlow or Keras."""
        return any(computing.sources(self._file, expression))

    def is_tensor(self, expression):
        """Whether that is a tensor or a variable, for all that can be seen."""
        return any(
            not computing.is_schedule(name)
            for name in computing.sources(self._file, expression)
        )

    def first_use_of(self, *names):
        """Returns which of some names the file has first, and where; '' for none."""
        used = self._file.occurrences(*names)
        for alias in self._file.of_kind(cst.ImportAlias):
            if alias.evaluated_alias and alias.evaluated_name in names:
                used.append(alias.name)
        for node in used:
            return f"`{node.value}` in {self._file.place(node)}"
        return ""

    def note(self, message):
        self._remarks.append((findings.NOTE, message))

    def needs_import(self, module):
        self._imports.append(module)

    def become_modern(self, signature, edit):
        """Plans the call of `keras_rmsprop.RMSprop` or of stock Keras' class.

        Args:
          signature: the names of the positional arguments.
          edit: a function that changes the `Arguments` to those of the target.
        """

        def edit_for_stock(arguments):
            edit(arguments)
            if not arguments.literal("epsilon", 1e-7):
                raise Undecided(
                    "in a call of stock Keras no `epsilon` reads as OptimizerV2's "
                    "default, 1e-07: write a small number"
                )

        def edit_and_tell_apart(arguments):
            edit_for_stock(arguments)
            # By its name alone, the next run might take it for the class of 2017.
            if self._call is self._node and "learning_rate" not in arguments:
                arguments.add("learning_rate", "0.001")

        if self.to == "keras-rmsprop":
            self.become("keras_rmsprop", "keras_rmsprop.RMSprop", signature, edit)
        elif self.is_spelled_as_stock:
            self._become_stock(signature, edit_for_stock)
        else:
            stock = "keras.optimizers.RMSprop"
            self.become("keras", stock, signature, edit_and_tell_apart)

    def _become_stock(self, signature, edit):
        """Plans the call of the class of the same name, which is stock Keras' now."""
        positional = sum(not each.keyword for each in self._call.args)
        shared = KERAS_SIGNATURE[:_SHARED]
        by_name = signature[:_SHARED] != shared or positional > _SHARED
        self.become(None, self._file.code(self._call.func), signature, edit, by_name)

    def become(self, module, expression, signature=(), edit=None, by_name=True):
        """Plans the call of another class.

        Args:
          module: the module to import; None where the class stays the same.
          expression: the class.
          signature: the names of the positional arguments.
          edit: a function that changes the `Arguments`; None leaves them.
          by_name: whether positional arguments get their names.

        Raises:
          Undecided: the file cannot import what the new call needs.
        """
        function = self._call.func
        name = self._file.code(function)

        def edited(call):
            if edit is not None:
                arguments = Arguments(call, signature)
                edit(arguments)
                call = arguments.of(call, by_name)
            if module is None:
                return call
            if self._call is self._node:
                width = self._file.width_before_arguments(self._call)
                call = realigned(call, width, len(expression) - len(name))
            return call.with_changes(func=cst.parse_expression(expression))

        before, after = self._file.code(self._call), self._file.code(edited(self._call))
        if self._says_the_same(before, after):
            return
        if self._file.is_in_f_string(self._node):
            raise Undecided("it stands inside an f-string, whose quotes might end it")
        if module is not None and "#" in name:
            raise Undecided("there is a comment inside the name of the class")
        for each in filter(None, (module, *self._imports)):
            imports.plan(self._file, each, self._origin)
        if module is not None:
            self._file.callees.append(function)
        if self._node is self._call:
            self._file.edits[self._node] = edited
        else:
            self._file.edits[self._node] = lambda _: edited(self._call)
        self._file.record(self._node, self._era, before, after)
        for kind, message in self._remarks:
            self._file.report(self._node, kind, message)

    def _says_the_same(self, before, after):
        if self._node is not self._call:
            # A string already means the stock class with its defaults.
            return before == after
        return cst.parse_expression(before).deep_equals(cst.parse_expression(after))

    def _assume(self, message, why=""):
        message += f", because of {why}" if why else ""
        self._remarks.append((findings.ASSUMED, message))

    def _check_third_position(self):
        positional = [each.value for each in self._call.args if not each.keyword]
        if len(positional) > 2:
            third = tree.literal(positional[2])
            if isinstance(third, float) and 0 < third < _SMALLEST_MOMENTUM:
                raise Undecided(
                    f"its third positional argument, {third}, is `momentum` in "
                    "TensorFlow 2 and was `epsilon` before: name it"
                )

    @property
    def _origin(self):
        return self._call.func if self._call is self._node else self._node

    @property
    def _qualified(self):
        if self._call is not self._node:
            return set()
        return self._file.qualified(self._call.func)

    @property
    def _is_standalone_keras(self):
        return any(name.startswith("keras.") for name in self._qualified)
