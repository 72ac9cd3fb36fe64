"""The compiled kernels: scores against brute force, wrong indices, compiling and its errors."""

import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax.sparse import Links, native, sparse_linear
from prunejax.sparse.native import __main__ as command
from prunejax.sparse.native import building, scores
from prunejax.sparse.native.product import _dense
from tests.support import sparse_reference as reference

TINY = 'extern "C" int one() { return 1; }\n'


def there_is_a_compiler():
    try:
        return bool(building.compiler())
    except native.UnavailableError:
        return False


NEEDS_COMPILER = pytest.mark.skipif(not there_is_a_compiler(), reason="no C++ compiler")


@pytest.mark.usefixtures("kernels")
def test_where_no_kernel_runs_dense_products_compute_the_same():
    random = np.random.default_rng(0)
    links = Links.from_mask(random.random((9, 7)) < 0.4)
    sizes = ((len(links),), (5, 9), (5, 7))
    operands = [jnp.asarray(random.normal(size=size), jnp.float32) for size in sizes]
    for wanted in (native.WEIGHTS, native.INPUTS, native.OUTPUTS):
        first, second = (each for number, each in enumerate(operands) if number != wanted)
        found = _dense(
            first, second, links.sources, links.targets, wanted=wanted, shape=links.shape
        )
        expected = native.product(wanted, first, second, links)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_platform_of_the_data_decides_whether_kernels_run(platform):
    """Also where JAX computes on a CPU by default, as here, and the data lie on a GPU."""
    links = Links.from_mask(np.random.default_rng(0).random((9, 7)) < 0.4)

    def gradient(weights, links, x):
        def loss(weights, x):
            return jnp.sum(jnp.sin(sparse_linear(weights, links, x)))

        return jax.grad(loss, (0, 1))(weights, x)

    given = (jnp.ones(len(links)), links, jnp.ones((5, 9)))
    text = jax.jit(gradient).trace(*given).lower(lowering_platforms=(platform,)).as_text()
    assert ("prunejax_product" in text) == (platform == "cpu")


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("rule", native.RULES)
def test_scores_are_sums_over_paths(rule):
    random = np.random.default_rng(0)
    masks = [random.random((9, 7)) < density for density in (0.1, 0.3, 0.6)]
    masks[0][2, 3] = True
    masks += [np.ones((4, 5), bool), np.eye(1, 6, dtype=bool), random.random((40, 3)) < 0.5]
    number = native.RULES.index(rule)
    with jax.enable_x64(True):
        for mask in masks:
            links = Links.from_mask(mask)
            expected = reference.l3_scores(mask, rule)
            found = native.l3_scores(links, number, jnp.float64)
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
            found = jax.jit(native.l3_scores, static_argnums=1)(links, number)
            assert found.dtype == jnp.float32
            np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.usefixtures("kernels")
def test_scores_with_a_hub_and_of_many_layers():
    """An input and an output with 300 links each, among 400 x 320 neurons."""
    mask = np.random.default_rng(0).random((400, 320)) < 0.01
    mask[7, :300] = mask[:300, 5] = True
    links = Links.from_mask(mask)
    adjacency = mask.astype(float)
    # all paths, less those that turn back at once: u - v - z2 - v and u - z1 - u - v
    walks = adjacency @ adjacency.T @ adjacency
    turning = adjacency * (adjacency.sum(0) + adjacency.sum(1, keepdims=True) - 1)
    np.testing.assert_allclose(native.l3_scores(links, 0), walks - turning, rtol=1e-6)
    both = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), links)
    many = jax.vmap(lambda one: native.l3_scores(one, 4))(both)
    np.testing.assert_array_equal(many[1], native.l3_scores(links, 4))


def test_refuses_rules_and_types_that_there_are_not():
    links = Links.from_mask(np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="rule must be one of 0 to 4"):
        native.l3_scores(links, 5)
    with pytest.raises(ValueError, match="scores are float32 or float64, not bfloat16"):
        scores.l3_scores(links, 0, jnp.bfloat16)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    "sources, targets", [([0, 3], [0, 1]), ([0, -1], [0, 1]), ([0, 1], [0, 2]), ([0, 1], [0, -5])]
)
def test_indices_out_of_range_are_errors(sources, targets):
    links = Links(jnp.array(sources), jnp.array(targets), (3, 2))
    pair = (
        f"link 1 leads from input {sources[1]} to output {targets[1]}, but the layer has 3 inputs"
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match=pair):
        sparse_linear(jnp.ones(2), links, jnp.ones((4, 3)), "native").block_until_ready()
    with pytest.raises(jax.errors.JaxRuntimeError, match=pair):
        native.l3_scores(links, 0).block_until_ready()


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A source that compiles at once, and an empty cache."""
    source = tmp_path / "tiny.cc"
    source.write_text(TINY)
    monkeypatch.setattr(building, "SOURCE", source)
    monkeypatch.setenv("PRUNEJAX_CACHE_DIR", str(tmp_path / "cache"))
    return source


@NEEDS_COMPILER
def test_compiles_once_and_again_when_the_source_changes(tiny, monkeypatch, capsys):
    first = building.build()
    monkeypatch.setattr(building, "_compile", None)
    assert building.build() == first
    assert command.main() == 0
    assert str(first) in capsys.readouterr().out
    monkeypatch.undo()
    monkeypatch.setattr(building, "SOURCE", tiny)
    monkeypatch.setenv("PRUNEJAX_CACHE_DIR", str(first.parent))
    tiny.write_text(TINY + "// edited\n")
    second = building.build()
    assert second != first
    assert {path.suffix for path in first.parent.iterdir()} <= {".so", ".lock"}


@NEEDS_COMPILER
def test_two_processes_at_once(tiny):
    program = (
        "import sys, pathlib; from prunejax.sparse.native import building\n"
        "building.SOURCE = pathlib.Path(sys.argv[1]); print(building.build())"
    )
    command = [sys.executable, "-c", program, str(tiny)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert said[0] == said[1] == str(building.build())


@NEEDS_COMPILER
def test_without_a_compiler_what_was_compiled_will_do(tiny, monkeypatch):
    library = building.build()
    monkeypatch.setenv("CXX", "no-such-compiler --fast")
    assert building.build() == library
    tiny.write_text(TINY + "// edited\n")
    with pytest.raises(native.UnavailableError, match=r"CXX names no program .*'no-such-compiler"):
        building.build()


def test_no_compiler(tiny, monkeypatch, capsys):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(
        native.UnavailableError, match="none of g\\+\\+, clang\\+\\+, c\\+\\+ is on"
    ):
        building.build()
    assert command.main() == 1
    assert "costs speed only" in capsys.readouterr().out


@NEEDS_COMPILER
def test_a_compiler_without_function_clones(tiny):
    tiny.write_text("#ifndef PRUNEJAX_PLAIN\n#error no clones\n#endif\n" + TINY)
    assert building.build().exists()


@NEEDS_COMPILER
def test_what_the_compiler_says_is_told(tiny):
    tiny.write_text("int broken(")
    with pytest.raises(native.UnavailableError, match=r"failed \(1\): .*tiny.cc"):
        building.build()
    assert [path.suffix for path in (tiny.parent / "cache").iterdir()] in ([".lock"], [])


@NEEDS_COMPILER
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="folders without permission are POSIX's")
def test_a_folder_that_cannot_be_written(tiny, monkeypatch):
    monkeypatch.setenv("PRUNEJAX_CACHE_DIR", str(tiny / "below a file"))
    with pytest.raises(native.UnavailableError, match=r"name another folder .* PRUNEJAX_CACHE_DIR"):
        building.build()


def test_where_the_cache_is(monkeypatch):
    monkeypatch.setenv("PRUNEJAX_CACHE_DIR", "/one")
    monkeypatch.setenv("XDG_CACHE_HOME", "/two")
    assert str(building.cache_folder()) == "/one"
    monkeypatch.delenv("PRUNEJAX_CACHE_DIR")
    assert str(building.cache_folder()) == "/two/prunejax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert building.cache_folder().parts[-2:] == (".cache", "prunejax")
