"""Plans and sliced models from strangers: one documented error, and no memory for a false size."""

import io
import json
import random
import tracemalloc
import zipfile
from hashlib import sha256

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax.network import Plan, load_sliced, reading, save_sliced, trace


def forward(v, x):
    return jax.nn.relu(x @ v["a"]) @ v["b"]


VARIABLES = {"a": jnp.ones((3, 8)), "b": jnp.ones((8, 2))}


@pytest.fixture(scope="module")
def network():
    return trace(forward, VARIABLES, jnp.ones((1, 3)))


@pytest.fixture
def plan_file(network, tmp_path):
    return network.plan({"a": np.arange(8) < 3}).save(tmp_path / "plan.json")


@pytest.fixture(scope="module")
def saved(network, tmp_path_factory):
    plan = network.plan({"a": np.arange(8) < 3})
    return save_sliced(
        tmp_path_factory.mktemp("m") / "m", plan, plan.slice(VARIABLES), jnp.ones((1, 3))
    )


PLANS = {
    "a_width_of_terabytes": {"keep": {"a": {"width": 10**12, "channels": [1]}}},
    "a_width_that_is_negative": {"keep": {"a": {"width": -1, "channels": []}}},
    "a_width_that_is_a_fraction": {"keep": {"a": {"width": 8.0, "channels": [1]}}},
    "a_width_that_is_true": {"keep": {"a": {"width": True, "channels": [0]}}},
    "a_width_that_is_another": {"keep": {"a": {"width": 9, "channels": [1]}}},
    "a_list": {"keep": []},
    "words": {"keep": {"a": {"width": 8, "channels": ["x"]}}},
    "a_word": {"keep": {"a": {"width": 8, "channels": "11"}}},
    "fractions": {"keep": {"a": {"width": 8, "channels": [1.5]}}},
    "nothing": {"keep": None},
    "entries_that_are_none": {"keep": {"a": None}},
    "no_channel": {"keep": {"a": {"width": 8, "channels": []}}},
    "channels_twice": {"keep": {"a": {"width": 8, "channels": [1, 1]}}},
    "channels_outside": {"keep": {"a": {"width": 8, "channels": [8]}}},
    "a_huge_channel": {"keep": {"a": {"width": 8, "channels": [10**30]}}},
    "a_format_of_its_own": {"format": ["x"]},
    "a_network_that_is_a_list": {"network": []},
    "missing_keys": None,
}


@pytest.mark.parametrize("name", PLANS)
def test_plans_that_say_nothing_sensible(name, plan_file, network):
    change = PLANS[name]
    content = {} if change is None else {**json.loads(plan_file.read_bytes()), **change}
    plan_file.write_text(json.dumps(content))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"damaged or no plan|made for another network"):
        Plan.load(plan_file, network)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"[" * 200_000, b'{"a":' * 100_000, b"9" * 10_000, b"null"]
)
def test_plans_that_are_no_objects(content, plan_file, network):
    plan_file.write_bytes(content)
    with pytest.raises(ValueError, match="damaged or no plan"):
        Plan.load(plan_file, network)


@pytest.mark.parametrize(
    "content, message", [(b"\xff{}", "it is no text"), (b"[" * 200_000, "nested too deeply")]
)
def test_what_is_no_json_is_one_documented_error(content, message):
    with pytest.raises(ValueError, match=message) as caught:
        reading.parsed(content)
    assert caught.type is ValueError


def test_bytes_that_are_flipped_give_a_plan_or_that_error(plan_file, network):
    good, chance = plan_file.read_bytes(), random.Random(0)
    for _ in range(200):
        changed = bytearray(good)
        changed[chance.randrange(len(changed))] = chance.randrange(256)
        plan_file.write_bytes(changed)
        try:
            Plan.load(plan_file, network)
        except ValueError:
            continue


def stored(header, body, **settings):
    """A `.npz` with one array whose header and body are given."""
    described = repr(header).encode() if not isinstance(header, bytes) else header
    described += b" " * (-(len(described) + 11) % 64) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(described).to_bytes(2, "little") + described + body
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **settings) as archive:
        archive.writestr("a.npy", array)
    return buffer.getvalue()


def header(shape, dtype="<f4"):
    return {"descr": dtype, "fortran_order": False, "shape": shape}


ARCHIVES = {
    "nothing": b"",
    "no_archive": b"PK\x03\x04 and so on",
    "a_shape_of_terabytes": stored(header((10**12,)), b"\0" * 8),
    "a_shape_that_overflows": stored(header((2**40, 2**40)), b"\0" * 8),
    "a_negative_shape": stored(header((-1, -2)), b"\0" * 8),
    "too_few_bytes": stored(header((3,)), b"\0" * 8),
    "too_many_bytes": stored(header((1,)), b"\0" * 8),
    "compressed": stored(header((2,)), b"\0" * 8, compression=zipfile.ZIP_DEFLATED),
    "objects": stored(header((1,), "|O"), b"\0" * 8),
    "words": stored(header((1,), "<U2"), b"\0" * 8),
    "no_header": stored(b"(" * 500, b""),
    "a_header_that_is_code": stored(b"__import__('os').getcwd()", b""),
    "a_bad_type": stored(header((1,), "<f5"), b"\0" * 8),
}


def replaced(saved, tmp_path, file, content):
    """The folder with another file, whose checksum is right: what somebody made, not damage."""
    folder = tmp_path / "other"
    folder.mkdir()
    for each in saved.iterdir():
        (folder / each.name).write_bytes(each.read_bytes())
    (folder / file).write_bytes(content)
    about = json.loads((saved / "about.json").read_bytes())
    if file != "about.json":
        about["sha256"][file] = sha256(content).hexdigest()
        (folder / "about.json").write_text(json.dumps(about))
    return folder


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_lie(name, saved, tmp_path):
    folder = replaced(saved, tmp_path, "variables.npz", ARCHIVES[name])
    tracemalloc.start()
    with pytest.raises(ValueError, match="damaged or no sliced model"):
        load_sliced(folder)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    "change",
    [
        {"platforms": 3},
        {"platforms": []},
        {"platforms": [1]},
        {"versions": []},
        {"versions": None},
        {"sha256": []},
        {"sha256": {}},
        {"format": {}},
    ],
)
def test_descriptions_that_say_nothing_sensible(change, saved, tmp_path):
    content = {**json.loads((saved / "about.json").read_bytes()), **change}
    folder = replaced(saved, tmp_path, "about.json", json.dumps(content).encode())
    with pytest.raises(ValueError, match="damaged or no sliced model"):
        load_sliced(folder)


@pytest.mark.parametrize("content", [b"[" * 200_000, b"[]", b"\xff", b'{"keep": 3}'])
@pytest.mark.parametrize("file", ["plan.json", "about.json"])
def test_files_of_a_folder_that_are_no_objects(content, file, saved, tmp_path):
    with pytest.raises(ValueError, match="damaged or no sliced model"):
        load_sliced(replaced(saved, tmp_path, file, content))


def test_many_wide_groups_take_no_memory(saved, tmp_path):
    groups = {str(group): {"width": 2**24, "channels": [0]} for group in range(1000)}
    content = {**json.loads((saved / "plan.json").read_bytes()), "keep": groups}
    tracemalloc.start()
    with pytest.raises(ValueError, match="the width of '1' is 16777216, not 1 to 0"):
        load_sliced(replaced(saved, tmp_path, "plan.json", json.dumps(content).encode()))
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()


def test_the_folder_says_that_it_is_code(saved):
    about = json.loads((saved / "about.json").read_bytes())
    assert "forward.jaxexport is code" in about["trust"]
    assert "Load only what you trust" in about["trust"]
    assert set(load_sliced(saved).variables) == {"a", "b"}
