"""The wheel, what its core needs, and the command beside a folder of its own name."""

import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from prunejax import extras

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CORE = ("jax", "optax", "numpy", "jaxtyping", "filelock", "flatbuffers")


def run(*command, cwd=None, **options):
    found = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, **options
    )
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


def without_extras(program):
    """Runs a program in a process where only the core's packages can be imported."""
    block = f"import sys; sys.modules |= dict.fromkeys({sorted(extras.EXTRAS)!r})\n"
    return run(sys.executable, "-c", block + program)


def test_the_core_is_small_and_each_optional_package_has_an_extra():
    names = [line.partition(">")[0] for line in PROJECT["dependencies"]]
    assert sorted(names) == sorted(CORE)
    called = {"PIL": "pillow", "sklearn": "scikit_learn", "distributed": "dask"}
    for package, extra in extras.EXTRAS.items():
        brought = " ".join(PROJECT["optional-dependencies"][extra]).replace("-", "_")
        assert called.get(package, package) in brought


def test_the_core_prunes_trains_traces_and_rewires():
    said = without_extras(
        """
import warnings; warnings.simplefilter("error")
import jax, jax.numpy as jnp, optax, prunejax
from prunejax import allocation, channels, criteria, masks, network, pruning, rewiring, robustness
from prunejax import spiking, sparse, training
from prunejax.rewiring import during_training
key = jax.random.key(0)
params = {"a": {"kernel": jax.random.normal(key, (8, 6))},
          "b": {"kernel": jax.random.normal(key, (6, 3))}}
def forward(variables, x):
    return jax.nn.relu(x @ variables["a"]["kernel"]) @ variables["b"]["kernel"]
def loss(params, x):
    return jnp.mean(forward(params, x) ** 2)
x = jax.random.normal(key, (5, 8))
made = pruning.prune(params, masks.make(params), x, criterion="snip", sparsity=0.5, loss_fn=loss)
tx = training.masked(optax.adamw(1e-3))
updates, _ = tx.update(jax.grad(loss)(params, x), tx.init(params), params, masks=made)
params = optax.apply_updates(params, updates)
print(masks.count(made), masks.count(masks.of_nonzeros(params)))
traced = network.trace(forward, params, x)
scores = channels.rank(traced, params, x, criterion="l1", kinds=("dense",))
print(sum(leaf.size for leaf in jax.tree.leaves(scores.plan(0.5).slice(params))))
print(during_training.masks_of(during_training.sparsified(
    optax.sgd(0.1), "set", sparsity=0.5, every=10).init(params))["a"]["kernel"].sum())
"""
    ).splitlines()
    assert said[:2] == ["33 33", str(8 * 3 + 3 * 3)]
    assert int(said[2]) > 0


@pytest.mark.parametrize(
    "program, message",
    [
        (
            "from prunejax import models",
            "prunejax.models needs flax: pip install 'prunejax[models]'",
        ),
        ("import prunejax; prunejax.models", "prunejax.models needs flax"),
        ("from prunejax.sparse import SparseDense", "prunejax.sparse.SparseDense needs flax"),
        ("from prunejax import topology", "needs networkx: pip install 'prunejax[topology]'"),
        (
            "from prunejax import data; data.load('digits')",
            "digits needs sklearn: pip install 'prunejax[data]'",
        ),
        ("import prunejax.nothing", "No module named 'prunejax.nothing'"),
    ],
)
def test_what_is_missing_is_said_with_its_extra(program, message):
    told = without_extras(f"try: exec({program!r})\nexcept ModuleNotFoundError as e: print(e)")
    assert message in told


def test_the_command_says_what_it_needs():
    program = "from experiments import entry; print(entry.main(['compare', '--quick']))"
    found = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.modules['tyro'] = None\n{program}"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert found.stdout.strip() == "1"
    assert found.stderr == "this command needs tyro: pip install 'prunejax[experiments]'\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", ROOT, "--no-deps", "--quiet", "--wheel-dir", folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_holds_what_it_should_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        told = archive.read(next(n for n in names if n.endswith("entry_points.txt"))).decode()
    assert "prunejax = experiments.entry:main" in told
    for expected in ("prunejax/py.typed", "prunejax/sparse/native/kernels.cc", "solvers/py.typed"):
        assert expected in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "prunejax", "solvers", "experiments",
    }  # fmt: skip
    assert not [name for name in names if "test" in name or name.endswith(".pyc")]


@pytest.mark.slow
def test_the_wheel_in_clean_environments(wheel, tmp_path):
    """First the core alone; then everything, beside a folder called ``experiments``."""
    venv.create(tmp_path / "env", with_pip=True)
    python, command = (tmp_path / "env" / "bin" / name for name in ("python", "prunejax"))
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    pinned = ("--constraint", ROOT / "constraints.txt")
    run(*pip, *pinned, wheel)
    light = size_of(tmp_path / "env")
    beside = tmp_path / "work" / "experiments"
    beside.mkdir(parents=True)
    (beside / "__init__.py").write_text("raise SystemExit('another package of this name')")
    program = "import prunejax.pruning, prunejax.training, sys; print('flax' in sys.modules)"
    assert run(python, "-c", program, cwd=tmp_path).strip() == "False"
    found = subprocess.run([command, "compare"], cwd=beside.parent, capture_output=True, text=True)
    assert found.returncode == 1
    assert "pip install 'prunejax[experiments]'" in found.stderr
    run(*pip, *pinned, f"{wheel}[experiments]")
    quick = ("compare", "--quick", "--seeds", "1", "--methods", "snip", "--sparsities", "0.9")
    said = run(command, *quick, cwd=beside.parent)
    assert "2 runs, 2 of them now" in said
    assert run(command, "--version").strip() == f"prunejax {PROJECT['version']}"
    whole = size_of(tmp_path / "env")
    print(f"core {light / 1e6:.0f} MB, with experiments {whole / 1e6:.0f} MB")
    assert light < 0.6 * whole


def size_of(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
