"""The bare package is light: what is heavy or optional loads when it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("orbax", "tensorflow_datasets", "sklearn", "matplotlib", "pyscipopt", "polars", "equinox")


@pytest.mark.parametrize(
    "statement, absent",
    [
        ("import prunejax; dir(prunejax)", (*HEAVY, "flax", "optax")),
        ("import prunejax.masks, prunejax.allocation, prunejax.pruning", (*HEAVY, "flax", "optax")),
        ("import prunejax.training, prunejax.models, prunejax.data, prunejax.checkpoint", HEAVY),
    ],
)
def test_heavy_packages_are_not_imported(statement, absent):
    program = f"import sys; {statement}; print([n for n in {absent} if n in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    assert found.strip() == "[]"


def test_solvers_import_without_jax():
    program = "import sys, solvers; print('jax' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert found.stdout.strip() == b"False"


SOLVERS = Path(__file__).parent.parent / "solvers"


@pytest.mark.parametrize(
    "path", sorted(SOLVERS.rglob("*.py")), ids=lambda path: str(path.relative_to(SOLVERS))
)
def test_solvers_import_numpy_scipy_and_threadpoolctl_only(path):
    allowed = {"numpy", "scipy", "threadpoolctl", "solvers", *sys.stdlib_module_names}
    if path.parent.name == "backends":
        allowed |= {"highspy", "pyscipopt"}
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else map(_name, node.names))
    }
    assert imported <= allowed


def _name(alias):
    return alias.name


@pytest.mark.parametrize("backend, other", [("scip", "highspy"), ("highs", "pyscipopt")])
def test_solving_by_one_solver_does_not_import_the_other(backend, other):
    program = (
        "import sys\n"
        "import numpy as np\n"
        "import solvers\n"
        "from solvers import critical_neurons, export, layers, problem, settings, solution\n"
        "assert not {'highspy', 'pyscipopt', 'sklearn', 'jax'} & set(sys.modules)\n"
        "network = [layers.Dense(np.eye(2)), layers.Relu(), layers.Dense(np.eye(2))]\n"
        "given = problem.Problem(network, np.eye(2), np.arange(2))\n"
        f"solved = critical_neurons.solve(given, backend={backend!r})\n"
        f"print(solved.status, {other!r} in sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout
    # HiGHS 1.16 says its name before its first program with integers, whatever its output_flag says
    assert "optimal False" in told.splitlines()


def test_unknown_submodules_are_attribute_errors():
    import prunejax

    assert {"masks", "criteria", "training"} <= set(dir(prunejax))
    with pytest.raises(AttributeError, match="no attribute 'mask'"):
        prunejax.mask  # noqa: B018
