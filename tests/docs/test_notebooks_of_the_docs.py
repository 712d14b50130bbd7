"""The notebooks run, and print what the site shows."""

import pytest

notebooks = pytest.importorskip("notebooks", reason="the extra `docs` is not installed")


def test_the_notebooks_print_what_the_site_shows():
    import nbformat

    assert len(notebooks.PATHS) == 3
    with notebooks.kernel() as run:
        for path in notebooks.PATHS:
            shown = nbformat.read(path, 4).cells
            for before, now in zip(shown, run(path).cells, strict=True):
                if before.cell_type != "code":
                    continue
                assert "execution_count" in before and before.execution_count, path
                if "varies" not in before.metadata.get("tags", ()):
                    assert notebooks.printed(now) == notebooks.printed(before), path
                else:
                    # Digits at the end differ between processors.
                    assert len(now.outputs) >= len(before.outputs) > 0, path
