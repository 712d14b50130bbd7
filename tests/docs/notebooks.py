"""Runs the notebooks; `python tests/docs/notebooks.py` also keeps their outputs.

All run in one kernel, one after the other, so that TensorFlow is imported once.
"""

import contextlib
import os
import sys

import nbformat
import pages
from nbclient import NotebookClient

PATHS = sorted(pages.ROOT.glob("docs/notebooks/*.ipynb"))


@contextlib.contextmanager
def kernel():
    """Gives a function that runs the notebook at a path and returns it."""
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(pages.ROOT), *sys.path])),
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TQDM_DISABLE": "1",
    }
    client = NotebookClient(
        nbformat.v4.new_notebook(), timeout=300, resources={"metadata": {}}
    )
    client.resources["metadata"]["path"] = str(PATHS[0].parent)
    client.create_kernel_manager()
    with client.setup_kernel(env={**os.environ, **environment}):

        def run(path):
            client.nb = book = nbformat.read(path, 4)
            book.cells.append(nbformat.v4.new_code_cell("%reset -f"))
            for index, cell in enumerate(book.cells):
                client.execute_cell(cell, index)
            book.cells.pop()
            return book

        yield run


def printed(cell):
    """Returns what a cell prints on standard output."""
    return "".join(
        output.text
        for output in cell.get("outputs", ())
        if output.output_type == "stream" and output.name == "stdout"
    )


def _keep_outputs():
    with kernel() as run:
        for path in PATHS:
            book = run(path)
            for cell in book.cells:
                cell.metadata.pop("execution", None)
                if cell.cell_type == "code":
                    cell.outputs = [
                        output
                        for output in cell.outputs
                        if output.get("name") != "stderr"
                    ]
            nbformat.write(book, path)


if __name__ == "__main__":
    _keep_outputs()
