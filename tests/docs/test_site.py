"""The site: every public name has its place, links lead somewhere, it builds without warnings."""

import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def script(name):
    """A file of ``docs`` as a module."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REFERENCE = script("reference_pages")


def public_packages():
    """The packages and modules with an ``__all__``, outside of those that are parts of others."""
    for package in ("prunejax", "solvers"):
        loaded = importlib.import_module(package)
        for found in pkgutil.iter_modules(loaded.__path__, f"{package}."):
            module = importlib.import_module(found.name)
            if hasattr(module, "__all__"):
                yield found.name
    yield "prunejax.rewiring.during_training"


@pytest.mark.parametrize("name", sorted(public_packages()))
def test_every_public_name_is_in_the_reference(name):
    assert name in REFERENCE.PAGES
    page = REFERENCE.page(name)
    module = importlib.import_module(name)
    for each in module.__all__:
        assert re.search(rf"^\.\. (auto|py:)\w+:: {re.escape(name)}\.{each}$", page, re.MULTILINE)


def test_the_package_lists_no_module_without_a_page():
    import prunejax

    assert {f"prunejax.{name}" for name in prunejax.__all__} <= {*REFERENCE.PAGES}


@pytest.mark.parametrize("name", REFERENCE.PAGES)
def test_every_page_of_the_reference_has_something_to_say(name):
    assert "auto" in REFERENCE.page(name)


def test_the_reference_lists_its_pages():
    listed = re.findall(r"^generated/(.+)$", (DOCS / "reference/index.md").read_text(), re.M)
    assert listed == REFERENCE.PAGES


def test_registries_stand_with_their_text_and_entries():
    page = REFERENCE.page("prunejax.rewiring")
    assert "Where links grow: anywhere;" in page
    assert "Entries: ``'random'``, ``'ch3_l3'``" in page


def test_docstrings_become_plain_restructuredtext():
    assert REFERENCE.rest("of ``Plan``s, |w|, ``|w|``") == "of ``Plan``\\ s, \\|w\\|, ``|w|``"
    assert REFERENCE.rest(">>> print(1 | 2)") == ">>> print(1 | 2)"


def test_the_gallery_is_what_its_table_says():
    gallery = script("gallery")
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == gallery.page()
    figures = {path.stem: path for path in (DOCS / "figures").glob("*.png")}
    assert figures.keys() == gallery.FIGURES.keys()
    assert all(path.stat().st_size <= gallery.MOST for path in figures.values())
    for figure in gallery.FIGURES.values():
        assert (DOCS / "methods" / f"{figure.page}.md").exists()


LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)(?:#[^)]*)?\)")
WRITTEN = [path for path in DOCS.rglob("*.md") if "_build" not in path.parts]


@pytest.mark.parametrize("page", WRITTEN, ids=lambda path: str(path.relative_to(DOCS)))
def test_links_lead_to_files(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("sphinx", reason="sphinx is in the extra 'docs'")
    pytest.importorskip("myst_nb", reason="myst-nb is in the extra 'docs'")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    command += ["-d", str(tmp_path / "doctrees"), str(DOCS), str(tmp_path / "html")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "html/reference/generated/prunejax.masks.html").read_text()
    assert "Makes masks that keep every weight" in reference
