"""Servers of a TensorFlow cluster, as processes on the loopback address."""

import contextlib
import multiprocessing
import socket

import tensorflow as tf


def free_addresses(count):
    """Returns addresses on the loopback interface that nobody listens at."""
    with contextlib.ExitStack() as stack:
        sockets = [
            stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for _ in range(count)
        ]
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


class Servers:
    """Processes, each a `tf.distribute.Server`, that end with a `with` block.

    The job `chief` is not started: it is that of the coordinator.

    Attributes:
        addresses: Dictionary of the lists of addresses by job.
    """

    def __init__(self, **counts):
        # Servers are forked from a process that has imported TensorFlow and done
        # nothing else, because to import it is most of what they would do.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tensorflow"])
        addresses = iter(free_addresses(sum(counts.values())))
        self.addresses = {
            job: [next(addresses) for _ in range(count)]
            for job, count in counts.items()
        }
        self._processes = {}

    def __enter__(self):
        for job, addresses in self.addresses.items():
            for index in range(len(addresses) if job != "chief" else 0):
                self.start(job, index)
        return self

    def __exit__(self, *_):
        for job, index in list(self._processes):
            self.kill(job, index)

    def start(self, job, index):
        process = self._context.Process(
            target=_serve, args=(self.addresses, job, index), daemon=True
        )
        process.start()
        self._processes[job, index] = process

    def kill(self, job, index):
        process = self._processes.pop((job, index))
        process.kill()
        process.join()


def _serve(addresses, job, index):
    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=1)
    tf.distribute.Server(addresses, job, index, protocol="grpc", config=config).join()
