"""What TF1 itself wrote, and what its sessions held."""

import pathlib
import zipfile

import numpy as np

FOLDER = pathlib.Path(__file__).parents[2] / "originals" / "checkpoints"


def unpacked(name, directory):
    """Unpacks a case and returns a dictionary of what its session held."""
    with zipfile.ZipFile(FOLDER / f"{name}.zip") as archive:
        archive.extractall(directory)
    with np.load(directory / "expected.npz") as file:
        expected = dict(file)
    (directory / "expected.npz").unlink()
    return expected


def under(expected, kind):
    """Returns what an expectation holds of a kind, such as `"rms"`, by name."""
    return {
        name.removeprefix(f"{kind}/"): value
        for name, value in expected.items()
        if name.startswith(f"{kind}/")
    }


def assert_state_is(state, expected):
    """Asserts that a state holds the bits that the session did."""
    values = under(expected, "value")
    assert set(state.variables) == set(values)
    for slot in ("rms", "mg", "momentum"):
        held = under(expected, slot)
        assert set(held) in (set(), set(values))
        for name, variable in state.variables.items():
            assert (slot in variable.slots) == bool(held)
            if held:
                assert_same(variable.slots[slot], held[name])
    for name, variable in state.variables.items():
        assert_same(variable.value, values[name])
    assert state.iterations == expected["step"]


def assert_same(actual, expected):
    assert actual.dtype == expected.dtype and actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()
