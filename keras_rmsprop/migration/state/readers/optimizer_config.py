"""What the configuration of an optimizer tells, in whichever file Keras put it."""

import dataclasses
import json

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from keras_rmsprop.migration.state.live import plain

# By what tf_keras and Keras call the classes that scale the loss.
_LOSS_SCALING = ("LossScaleOptimizer", "LossScaleOptimizerV3")
_NUMBERS = ("rho", "momentum", "epsilon")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The configuration of an optimizer.

    Attributes:
        class_name: Name of the class, None if the file does not tell.
        is_legacy: Whether it says of itself that it is an OptimizerV2.
        hyperparameters: Dictionary of the arguments that JSON can hold.
        loss_scale: Dictionary of the arguments of the loss scaling around it.
    """

    class_name: str | None = None
    is_legacy: bool = False
    hyperparameters: dict = dataclasses.field(default_factory=dict)
    loss_scale: dict = dataclasses.field(default_factory=dict)

    def check_rmsprop(self, origin):
        """Raises a ValueError unless the class is RMSprop, or unknown."""
        if self.class_name not in (None, "RMSprop"):
            raise ValueError(
                f"{origin!r} holds the state of an optimizer {self.class_name!r}, not "
                "of RMSprop."
            )


def parsed(config, origin):
    """Returns the `OptimizerConfig` that a serialized optimizer gives.

    Args:
        config: What was read from JSON: a dictionary with `"class_name"` and
            `"config"`.
        origin: Where it was read from, for messages.

    Raises:
        ValueError: If it is not of this form.
    """
    name, arguments = _entry(config, origin)
    loss_scale = {}
    if name in _LOSS_SCALING:
        loss_scale = {
            argument: arguments[argument]
            for argument in ("initial_scale", "dynamic_growth_steps")
            if isinstance(arguments.get(argument), (int, float))
        }
        config = arguments.get("inner_optimizer")
        name, arguments = _entry(config, origin)
    for argument in _NUMBERS:
        value = arguments.get(argument, 0.0)
        if not isinstance(value, (int, float)):
            raise ValueError(
                f"The optimizer's configuration in {origin!r} has {argument}={value!r},"
                " which is no number."
            )
    rule = arguments.get("update_rule", "")
    if not isinstance(rule, (str, dict)):
        raise ValueError(
            f"The optimizer's configuration in {origin!r} has update_rule={rule!r}."
        )
    where = f"{config.get('module')} {config.get('registered_name')}"
    return OptimizerConfig(
        class_name=name,
        is_legacy="legacy" in where,
        hyperparameters=plain(arguments),
        loss_scale=loss_scale,
    )


def from_json(text, origin, what):
    """Returns what a JSON text holds.

    Raises:
        ValueError: If it is no JSON; names the origin and what it is of it.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"The {what} of {origin!r} is no JSON: {error}") from error


def of_training(text, origin):
    """Returns the `OptimizerConfig` in a `training_config` of Keras, as JSON.

    One that is empty where there is none.
    """
    if text is None:
        return OptimizerConfig()
    config = from_json(text, origin, "training_config")
    return parsed(_value(config, "optimizer_config"), origin)


def of_saved_model(path):
    """Returns the `OptimizerConfig` in the `keras_metadata.pb` of a SavedModel.

    One that is empty where the file holds a model that was not compiled.
    """
    metadata = _metadata_type()()
    try:
        with open(path, "rb") as file:
            metadata.ParseFromString(file.read())
    except DecodeError as error:
        raise ValueError(f"{path!r} is truncated or damaged: {error}") from error
    if not metadata.nodes:
        raise ValueError(f"{path!r} is empty: there are no objects in it.")
    for node in metadata.nodes:
        if node.node_path == "root":
            root = from_json(node.metadata, path, "metadata")
            training = _value(root, "training_config")
            config = _value(training, "optimizer_config")
            return OptimizerConfig() if config is None else parsed(config, path)
    return OptimizerConfig()


def _entry(config, origin):
    """Returns the class name and the arguments of a serialized optimizer."""
    name, arguments = _value(config, "class_name"), _value(config, "config")
    if not isinstance(name, str) or not isinstance(arguments, dict):
        raise ValueError(
            f"{origin!r} does not hold the configuration of an optimizer where Keras "
            "puts it."
        )
    return name.rpartition(">")[2], arguments


def _value(config, key):
    return config.get(key) if isinstance(config, dict) else None


def _metadata_type():
    """Returns the class of the messages that tf_keras calls `SavedMetadata`.

    tf_keras need not be installed, and nothing else has them.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="keras_rmsprop/saved_metadata.proto", package="keras_rmsprop"
    )
    field = descriptor_pb2.FieldDescriptorProto
    node = file.message_type.add(name="SavedObject")
    for number, name in ((3, "node_path"), (4, "identifier"), (5, "metadata")):
        node.field.add(
            name=name,
            number=number,
            type=field.TYPE_STRING,
            label=field.LABEL_OPTIONAL,
        )
    file.message_type.add(name="SavedMetadata").field.add(
        name="nodes",
        number=1,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_REPEATED,
        type_name=".keras_rmsprop.SavedObject",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(
        pool.FindMessageTypeByName("keras_rmsprop.SavedMetadata")
    )
