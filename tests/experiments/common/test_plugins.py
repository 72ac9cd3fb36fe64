"""Criteria from outside the repository: loaded, digested, refused."""

import sys

import jax
import pytest

from experiments.common import methods, plugins
from experiments.common.shape import Shape, parsed
from prunejax.criteria import Criterion

SOURCE = """
import jax
from prunejax.criteria import Criterion

def score(params, masks, batch, *, loss_fn, key):
    return jax.tree.map(lambda mask: mask.astype(float), masks)

often = Criterion(score, rounds=3)
number = 3
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def test_a_function_of_a_file_and_of_a_module(file, tmp_path, monkeypatch):
    found = plugins.load(f"{file}:score")
    assert found({}, {"a": jax.numpy.ones(2, bool)}, None, loss_fn=None, key=None)["a"].sum() == 2
    assert plugins.load(f"{file}:score") is found
    monkeypatch.syspath_prepend(str(tmp_path))
    often = plugins.load("mine:often")
    assert isinstance(often, Criterion)
    assert methods.settings("mine:often")["rounds"] == 3
    del sys.modules["mine"]


def test_the_digest_follows_the_file(file):
    before = methods.settings(f"{file}:score")
    assert before["criterion"] == f"{file}:score"
    assert before["rounds"] == 1
    changed = file.with_name("other.py")
    changed.write_text(SOURCE.replace("mask.astype(float)", "mask.astype(int)"))
    assert methods.settings(f"{changed}:score")["source"] != before["source"]
    commented = file.with_name("commented.py")
    commented.write_text(SOURCE.replace("import jax\n", "import jax  # a comment\n", 1))
    assert methods.settings(f"{commented}:score")["source"] == before["source"]


@pytest.mark.parametrize(
    "name, message",
    [
        ("{}:scor", "mine.py has no 'scor'; did you mean 'score'"),
        ("{}:number", "must be a function .* or a criteria.Criterion; it is int"),
        ("{}x.py:score", "cannot be loaded: there is no file"),
        ("no.such.module:score", "cannot be loaded: ModuleNotFoundError: No module named 'no'"),
        (":score", "cannot be loaded"),
        ("snp", "unknown method 'snp'; .*did you mean 'snip'"),
    ],
)
def test_what_is_refused(file, name, message):
    with pytest.raises(ValueError, match=message):
        methods.find(name.format(file))


def test_a_fault_of_the_file_is_said_with_its_line(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("x = 1\ndef score(:\n")
    with pytest.raises(ValueError, match=r"cannot be loaded: .*broken.py, line 2"):
        plugins.load(f"{path}:score")


@pytest.mark.parametrize("source", ["x = undefined", "raise SystemExit(3)", "import nothing_here"])
def test_whatever_the_file_raises_is_one_line(tmp_path, source):
    path = tmp_path / "raising.py"
    path.write_text(source)
    with pytest.raises(ValueError, match=r"raising.py:score' cannot be loaded: \w+"):
        plugins.load(f"{path}:score")


def test_which_methods_a_shape_can_be_asked_of(file):
    assert methods.prunes_weights("snip")
    assert methods.prunes_weights("wanda")
    assert methods.prunes_weights(f"{file}:score")
    for name in ("gmp", "rigl", "channels_l1", "entropy_kcore"):
        assert not methods.prunes_weights(name)


def test_every_method_says_what_it_is():
    lines = methods.said_of_all().splitlines()
    assert [line.split()[0] for line in lines] == list(methods.NAMES)
    assert all(len(line) <= 100 and len(line.split()) > 2 for line in lines)


def test_shapes():
    shape = Shape("4x4", ("stem",), (("head", 0.5),))
    assert shape.config() == {"pattern": "4x4", "exclude": ["stem"], "layers": {"head": 0.5}}
    assert shape.sparsity(0.9) == {"head": 0.5, "": 0.9}
    assert shape.said() == ", pattern 4x4, exclude stem, layers head 0.5"
    assert Shape().config() == {}
    assert Shape().said() == ""
    assert Shape().sparsity(0.9) == 0.9
    assert Shape("1:4").own_sparsity == 0.75
    assert parsed(("a=b=0.5", "c=0")) == (("a=b", 0.5), ("c", 0.0))


@pytest.mark.parametrize(
    "given, message",
    [
        ("head", "PATTERN=NUMBER, hidden1=0.9 say; got 'head'"),
        ("=0.5", "PATTERN=NUMBER"),
        ("head=most", "layer sparsity 'head=most': could not convert"),
        ("head=0.5 head=0.6", "layer sparsities name 'head' twice"),
        ("head=1", r"layer sparsity 'head=1': sparsity is the fraction .* got 1.0"),
    ],
)
def test_layer_sparsities_that_are_none(given, message):
    with pytest.raises(ValueError, match=message):
        parsed(tuple(given.split()))
