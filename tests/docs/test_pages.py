"""The programs of the documentation's pages, run as they stand."""

import contextlib
import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jaxtyping
import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for folder in ("howto", "methods")
    for page in DOCS.glob(f"{folder}/*.md")
    if page.stem not in ("index", "install", "plugin")
)
PROGRAM = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)

RIGHT = r"[89]\d\.\d% right"

SAYS = {
    "howto/equinox": rf"90% pruned, {RIGHT}\nlayers/0: (\d+) of 64 neurons stay\n\(\1, 64\)",
    "howto/flax_nnx": rf"90% pruned, {RIGHT}\n{{'bias': \((\d+),\), 'kernel': \(64, \1\)}}",
    "howto/flax_train_state": rf"90% pruned, {RIGHT}\n90% pruned, {RIGHT}",
    "howto/gradual": rf"epoch 0: 3\d%\n.*epoch 9: 90%\n{RIGHT}\n90% pruned, {RIGHT}",
    "howto/keras": rf"90% pruned, {RIGHT}\n\[\((\d+),\), \(64, \1\).*\(2, 10\)",
    "howto/optimisers": r"(\S+ +largest pruned 0\.0, loss [\d.]+\n){10}learning rate 1e-04\n"
    r"lookahead: largest pruned 0\.0\nmasked\(tx\)\.update needs masks=.*",
    "howto/lottery_ticket": rf"0% pruned, {RIGHT}\n.*95% pruned, {RIGHT}\n"
    r"epochs \[2, 3, 4, 5\], \d+% right",
    "howto/together": r"(seed [01], (50|90)% pruned, rate 0\.001: [89]\d% right\n"
    r"seed [01], (50|90)% pruned, rate 1e-05: [1-6]?\d% right\n?){4}",
    "howto/sparsities": r"by name: 0\.89 .*'hidden1': .*\n2:4: 0\.4\d .*of zeros: 0\.80 .*",
    "howto/own_criterion": r"95\.0% removed\n[67]\d% of the multiply-adds go",
    "howto/own_experiment": r"random +\d\d\.\d \d\d\.\d\nsnip +[5-9]\d\.\d [5-9]\d\.\d",
    "howto/own_model": r"conv/kernel: .*hidden/kernel: [89]\d.*\(3, 3, 1, 8\) \(2, 10\)",
    "methods/ch3_l3": rf"90% pruned, {RIGHT}",
    "methods/channels": r"(\w+ +24,930 parameters are left\n){5}\['apoz', .*\]",
    "methods/critical_neurons": rf"{{'hidden1': \d+, 'hidden2': \d+}} neurons stay, {RIGHT}",
    "methods/entropy_kcore": r"[34]\d% of the multiply-adds go\n\(4, 10\)",
    "methods/gradual": rf"90% pruned, {RIGHT}",
    "methods/grasp": r"323 weights are left",
    "methods/magnitude": rf"80% pruned, {RIGHT}",
    "methods/prospr": r"323 weights are left",
    "methods/random": r"{'classifier/kernel': 0\.\d+, 'hidden1/kernel': 0\.9\d?, .*}",
    "methods/rigl": rf"90% pruned, {RIGHT}",
    "methods/robustness": r"\[(1\.|0\.9\d) .*\]",
    "methods/set": rf"90% pruned, {RIGHT}",
    "methods/snip": r"129 weights are left, in empty layers: \[\]",
    "methods/spiking": r"2000 weights, [1-9]\d\d of them new",
    "methods/straight_through": rf"90% pruned, {RIGHT}",
    "methods/sparsegpt": r"50% removed, errors:\n(\S+ \d+\.\d+\n?){3}",
    "methods/wanda": r"\[(32, ){63}32\]",
    "methods/synflow": r"129 weights are left, empty layers: \[\]",
    "methods/topology": r"0\.\d+ sinks, [\d.e-]+ k-core, 16 metrics",
}
"""Page -> what its programs print."""

NEEDS = {"keras": "keras"}
"""Page -> a package that is no dependency."""


def is_long(page):
    """The pages of methods repeat what tests of their rooms do; one has many optimisers."""
    return page.parent.name == "methods" or page.stem == "optimisers"


@pytest.fixture
def _as_users(tmp_path, monkeypatch):
    """No checks of signatures, JAX's usual promotion, and files go to a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.usefixtures("_as_users")
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if is_long(page) else []) for page in PAGES],
    ids=[f"{page.parent.name}-{page.stem}" for page in PAGES],
)
def test_programs_run_as_they_stand(page):
    needed = NEEDS.get(page.stem)
    if needed and importlib.util.find_spec(needed) is None:  # not imported: pages set it up
        pytest.skip(f"{needed} is not installed")
    said, names = io.StringIO(), {"__name__": "__main__"}
    programs = PROGRAM.findall(page.read_text(encoding="utf-8"))
    with contextlib.redirect_stdout(said):
        for number, program in enumerate(programs, 1):
            exec(compile(program, f"{page.name}, block {number}", "exec"), names)
    assert programs
    expected = SAYS[f"{page.parent.name}/{page.stem}"]
    assert re.fullmatch(expected, said.getvalue().strip(), re.DOTALL), said.getvalue()


def test_a_criterion_from_outside_as_the_page_has_it(tmp_path):
    """The page's file beside a folder called ``experiments``, and its command, shortened."""
    page = (DOCS / "howto" / "plugin.md").read_text(encoding="utf-8")
    (tmp_path / "mine.py").write_text(PROGRAM.search(page).group(1))
    (tmp_path / "experiments").mkdir()
    (command,) = re.findall(r"^prunejax (compare .*mine.py:score.*)$", page, re.MULTILINE)
    program = "import sys; from experiments.entry import main; raise SystemExit(main())"
    found = subprocess.run(
        [sys.executable, "-P", "-c", program, *command.split(), "--quick", "--seeds", "1"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert found.returncode == 0, found.stdout + found.stderr
    assert re.search(r"mine\.py:score +\d\d\.\d", found.stdout)


def test_every_page_has_its_expectation():
    assert {f"{page.parent.name}/{page.stem}" for page in PAGES} == SAYS.keys()
