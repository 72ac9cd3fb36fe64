"""The bare package is light: what is heavy or optional loads when it is used."""

import subprocess
import sys

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


def test_unknown_submodules_are_attribute_errors():
    import prunejax

    assert {"masks", "criteria", "training"} <= set(dir(prunejax))
    with pytest.raises(AttributeError, match="no attribute 'mask'"):
        prunejax.mask  # noqa: B018
