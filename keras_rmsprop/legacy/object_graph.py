"""What a `tf.train.Checkpoint` says of its objects: who holds whom."""

import collections

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import trackable_object_graph_pb2

# The key of the graph in a checkpoint.
KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"


class ObjectGraph:
    """The objects of a checkpoint, by their indices.

    Attributes:
        paths: Dictionary of the shortest path to each object from the root, its
            attributes joined by `/`. Objects that only slots refer to have none, and
            go by `#` and their index.
        order: List of the objects as a walk finds them that finishes what an object
            holds before it goes on. Variables stand in the order of Keras'
            `trainable_variables`, wherever in a model they are.

    Args:
        serialized: Bytes.
        origin: Path of the checkpoint, for messages.

    Raises:
        ValueError: If the graph is damaged.
    """

    def __init__(self, serialized, origin):
        self._origin = origin
        graph = trackable_object_graph_pb2.TrackableObjectGraph()
        try:
            graph.ParseFromString(serialized)
        except (DecodeError, TypeError) as error:
            raise ValueError(
                f"The object graph of the checkpoint {origin!r} is damaged: {error}"
            ) from error
        self._nodes = graph.nodes
        self.paths = self._shortest_paths()
        self.order = self._walk()

    def __len__(self):
        return len(self._nodes)

    def children(self, node):
        """Returns the indices of the objects that one holds, by attribute."""
        return {child.local_name: child.node_id for child in self._at(node).children}

    def items(self, node):
        """Returns the indices of the objects in a list."""
        children = self.children(node)
        return [children[str(i)] for i in range(len(children)) if str(i) in children]

    def key(self, node):
        """Returns the checkpoint key of a variable, or None if it is none."""
        attribute = self._variable(node)
        return attribute.checkpoint_key if attribute else None

    def full_name(self, node):
        """Returns the name of a variable, an empty string if it has none."""
        attribute = self._variable(node)
        return attribute.full_name if attribute else ""

    def slots(self, node):
        """Returns the slot variables of an OptimizerV2 or TF1 optimizer.

        Returns:
            A dictionary of the indices of slots by name, by index of the variable.
        """
        slots = {}
        for each in self._at(node).slot_variables:
            of_variable = slots.setdefault(each.original_variable_node_id, {})
            of_variable[each.slot_name] = each.slot_variable_node_id
        if not slots:
            return {}
        position = {node: i for i, node in enumerate(self.order)}
        return dict(sorted(slots.items(), key=lambda pair: position.get(pair[0], -1)))

    def _variable(self, node):
        for attribute in self._at(node).attributes:
            if attribute.name == "VARIABLE_VALUE":
                return attribute
        return None

    def _at(self, node):
        if 0 <= node < len(self._nodes):
            return self._nodes[node]
        raise ValueError(
            f"The object graph of the checkpoint {self._origin!r} is damaged: it has "
            f"no object {node}."
        )

    def _shortest_paths(self):
        paths = {0: ""}
        queue = collections.deque([0])
        while queue:
            parent = queue.popleft()
            for name, child in self.children(parent).items():
                if child not in paths:
                    paths[child] = f"{paths[parent]}/{name}".lstrip("/")
                    queue.append(child)
        return {i: paths.get(i, f"#{i}") for i in range(len(self._nodes))}

    def _walk(self):
        found, stack = {}, [0]
        while stack:
            node = stack.pop()
            if node not in found:
                found[node] = None
                stack += reversed(self.children(node).values())
        return list(found)
