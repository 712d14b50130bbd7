"""The site builds without a warning, and links lead somewhere."""

import importlib.util
import os
import re
import subprocess
import sys

import pages
import pytest

needs_sphinx = pytest.mark.skipif(
    importlib.util.find_spec("sphinx") is None or not importlib.util.find_spec("furo"),
    reason="the extra `docs` is not installed",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", folder],
        cwd=pages.ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@needs_sphinx
def test_the_reference_has_what_is_public(site):
    import keras_rmsprop
    from keras_rmsprop import migration

    text = (site / "genindex.html").read_text("utf-8")
    reference = "".join(
        path.read_text("utf-8") for path in (site / "reference").glob("*.html")
    )
    for module in (keras_rmsprop, migration):
        for public in module.__all__:
            assert f'id="{module.__name__}.{public}"' in reference or public in (
                "legacy",
                "migration",
            ), public
    assert "RMSPropOptimizer" in text


@needs_sphinx
def test_names_of_keras_and_tensorflow_are_links(site):
    page = (site / "reference" / "rmsprop.html").read_text("utf-8")
    assert "https://keras.io/api/optimizers/rmsprop/#rmsprop-class" in page
    assert "https://www.tensorflow.org/api_docs/python/tf/IndexedSlices" in page


@needs_sphinx
def test_formulas_are_shown_as_they_are_written(site):
    page = (site / "reference" / "rmsprop.html").read_text("utf-8")
    text = re.sub(r"<[^>]+>", "", page)
    assert "ms = rho * ms + (1 - rho) * g**2\n" in text


@needs_sphinx
def test_the_site_can_be_searched(site):
    index = (site / "searchindex.js").read_text("utf-8")
    assert "update_rul" in index  # Stemmed.
    assert "checkpoint" in index


@pytest.mark.parametrize("path", pages.PAGES, ids=pages.name)
def test_links_to_files_lead_somewhere(path):
    for target in pages.links(path):
        if re.match(r"[a-z]+:", target) or not target:
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", linked.read_text("utf-8"), re.M)
            assert anchor in map(_anchor, headings), target


def _anchor(heading):
    """Returns the anchor that both GitHub and MyST give a heading."""
    kept = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower())
    return kept.strip().replace(" ", "-")


def test_the_pictures_are_drawn_from_their_tables():
    folder = pages.ROOT / "docs" / "pictures"
    spec = importlib.util.spec_from_file_location("draw", folder / "draw.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    drawn = draw.pictures()
    assert len(drawn) == 4
    for file, text in drawn.items():
        assert (folder / file).read_text("utf-8") == text, (
            f"{file} is not what `python docs/pictures/draw.py` draws"
        )
        assert len(text) < 20_000
