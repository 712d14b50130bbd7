"""Optimizers show the call that makes them, in whatever state they are."""

import dataclasses

import keras
import pytest
import tensorflow as tf

import keras_rmsprop
from compat_v1.keras import optimizer_v1
from compat_v1.train import RMSPropOptimizer
from keras_rmsprop import UpdateRule, legacy, migration

CLASSES = {
    "keras": keras_rmsprop.RMSprop,
    "legacy": legacy.RMSprop,
    "2017": optimizer_v1.RMSprop,
    "tf1": RMSPropOptimizer,
}
SCHEDULE = keras.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)
TF1 = UpdateRule.get("tf1")


def stepped(optimizer):
    optimizer.apply_gradients([(tf.ones(2), tf.Variable([1.0, 2.0]))])
    return optimizer


@pytest.mark.parametrize(
    "optimizer,text",
    [
        (
            keras_rmsprop.RMSprop(update_rule="tf1"),
            "RMSprop(learning_rate=0.001, update_rule='tf1')",
        ),
        (
            keras_rmsprop.RMSprop(1, momentum=0.9, centered=True, use_ema=True),
            "RMSprop(learning_rate=1.0, momentum=0.9, centered=True, use_ema=True)",
        ),
        (keras_rmsprop.RMSprop(SCHEDULE), "RMSprop(learning_rate=<ExponentialDecay>)"),
        (keras_rmsprop.RMSprop(lambda: 0.1), "RMSprop(learning_rate=<lambda>)"),
        (
            keras_rmsprop.RMSprop(update_rule=dataclasses.replace(TF1, name="mine")),
            "RMSprop(learning_rate=0.001, update_rule=UpdateRule(name='mine', ",
        ),
        (
            legacy.RMSprop(decay=0.5, sparse_updates="dense", clipnorm=1.0),
            "RMSprop(learning_rate=0.001, sparse_updates='dense', clipnorm=1.0, ",
        ),
        (legacy.RMSprop(SCHEDULE), "RMSprop(learning_rate=<ExponentialDecay>)"),
        (optimizer_v1.RMSprop(decay=0.5, rho=0.5), "RMSprop(lr=0.001, rho=0.5, decay="),
        (
            RMSPropOptimizer(0.1, decay=0.5, name="Mine"),
            "RMSPropOptimizer(learning_rate=0.1, decay=0.5, name='Mine')",
        ),
        (
            RMSPropOptimizer(tf.constant(0.1)),
            "RMSPropOptimizer(learning_rate=0.1)",
        ),
        (TF1, "UpdateRule.get('tf1')"),
    ],
)
def test_what_differs_from_the_defaults_is_shown(optimizer, text):
    assert repr(optimizer).startswith(text)
    assert f"{optimizer}" == str(optimizer) == repr(optimizer)


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_the_learning_rate_is_shown_as_it_is_after_a_step(cls):
    assert repr(stepped(cls(0.1))).endswith("=0.1)")


def test_a_changed_learning_rate_is_shown():
    for cls in (keras_rmsprop.RMSprop, legacy.RMSprop):
        optimizer = stepped(cls(0.1))
        optimizer.learning_rate = 0.25
        assert repr(optimizer) == "RMSprop(learning_rate=0.25)"


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_to_show_adds_nothing_to_a_graph(cls):
    optimizer = stepped(cls(0.1))
    shown = []

    @tf.function
    def function():
        graph = tf.compat.v1.get_default_graph()
        before = len(graph.get_operations())
        shown.append(repr(optimizer))
        assert len(graph.get_operations()) == before

    function()
    assert shown[0].startswith(cls.__name__) and "0x" not in shown[0]


@pytest.mark.parametrize("cls", [c for n, c in CLASSES.items() if n != "keras"])
def test_of_a_placeholder_the_class_is_shown(cls):
    with tf.Graph().as_default():
        optimizer = cls(tf.compat.v1.placeholder(tf.float32, ()))
        assert repr(optimizer).endswith("=<SymbolicTensor>)")
    assert repr(optimizer).endswith("=<SymbolicTensor>)")


@pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)
def test_an_optimizer_whose_constructor_failed_can_be_shown(cls):
    assert repr(cls.__new__(cls)) == f"{cls.__name__}()"


def test_an_optimizer_of_ones_own_shows_its_hyperparameters():
    class Halving(legacy.Optimizer):
        def __init__(self, share=0.5, name="Halving", **kwargs):
            super().__init__(name, **kwargs)
            self._set_hyper("share", share)

    assert repr(Halving(0.25, clipnorm=1.0)) == "Halving(share=0.25, clipnorm=1.0)"


def test_a_state_without_slots_can_be_shown():
    empty = migration.OptimizerState({"w": migration.VariableState({})})
    assert "w         ()" in repr(empty)
