"""Sliced models on disk: restored without the original, run without the library."""

import json
import os
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

from prunejax import masks, models
from prunejax.network import artifact, load_sliced, replacing, save_sliced, trace
from tests.support.slicing_checks import distance, random_keep, randomise

FILES = {"plan.json", "variables.npz", "forward.jaxexport", "about.json"}
NARROW = {"depth": 14, "stem_width": 4, "stage_widths": (4, 6, 8)}
ZOO = {"resnet8": (NARROW, (8, 8, 2)), "lenet5": ({}, (14, 12, 2))}


def sliced(apply_fn, variables, x):
    """A plan that removes about half of every group, and the sliced variables."""
    network = trace(apply_fn, variables, x)
    plan = network.plan(random_keep(network))
    return plan, plan.slice(variables)


def zoo(name):
    overrides, image = ZOO[name]
    model = models.build(name, num_classes=4, **overrides)
    x = jax.random.normal(jax.random.key(1), (3, *image))
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), x)
    return lambda variables, x: model.apply(variables, x, train=False), randomise(shapes), x


def by_path(tree):
    return {masks.name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


@pytest.fixture
def made(tmp_path):
    """A small artifact, the plan and variables it was made of, and an input."""

    def forward(variables, x):
        return jax.nn.relu(x @ variables["w1"] + variables["b1"]) @ variables["w2"]

    shapes = {"w1": (4, 6), "b1": (6,), "w2": (6, 3)}
    variables = randomise(
        {key: jax.ShapeDtypeStruct(shape, jnp.float32) for key, shape in shapes.items()}
    )
    x = jax.random.normal(jax.random.key(1), (5, 4))
    plan, variables = sliced(forward, variables, x)
    folder = save_sliced(tmp_path / "model", plan, variables, x, description="old")
    return folder, plan, variables, x


@pytest.mark.parametrize("name", [pytest.param("resnet8", marks=pytest.mark.slow), "lenet5"])
def test_it_is_restored_without_the_original(name, tmp_path):
    apply_fn, variables, x = zoo(name)
    plan, variables = sliced(apply_fn, variables, x)
    description = {"model": name, "accuracy": 0.5, "widths": [1, 2]}
    folder = save_sliced(tmp_path / "a" / "b", plan, variables, x, description=description)
    assert folder == tmp_path / "a" / "b"
    assert {file.name for file in folder.iterdir()} == FILES
    assert [file.name for file in folder.parent.iterdir()] == ["b"]

    found, forward = load_sliced(folder), plan.apply_fn
    assert found.description == description
    assert set(found.keep) == set(plan.keep)
    assert all(np.array_equal(found.keep[group], plan.keep[group]) for group in plan.keep)
    assert list(found.variables) == list(by_path(variables))
    for batch in (x, x[:1], jnp.concatenate([x, x + 1])):
        ours = jax.jit(found.apply_fn)(found.variables, batch)
        assert distance(ours, forward(variables, batch)) <= 1e-6
        assert distance(found.apply_fn(found.variables, batch), ours) <= 1e-6

    def slope(function, variables):
        return jax.jit(jax.grad(lambda tree: jnp.square(function(tree, x)).sum()))(variables)

    theirs = by_path(slope(forward, variables))
    assert distance(slope(found.apply_fn, found.variables), theirs) <= 1e-6


def test_it_says_what_it_is(tmp_path):
    apply_fn, variables, x = zoo("resnet8")
    plan, variables = sliced(apply_fn, variables, x)
    about = json.loads((save_sliced(tmp_path / "m", plan, variables, x) / "about.json").read_text())
    assert about["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert about["input"] == {"": "float32[batch,8,8,2]"}
    assert about["platforms"] == ["cpu", "cuda", "tpu"]
    assert about["versions"]["jax"] == jax.__version__
    assert about["description"] is None
    assert (tmp_path / "m").stat().st_mode == tmp_path.parent.stat().st_mode | 0o055


def test_jax_and_numpy_alone_run_it(made):
    folder, plan, variables, x = made
    np.save(folder.parent / "x.npy", x)
    lines = json.loads((folder / "about.json").read_text())["run"]
    code = "\n".join(
        [
            "import sys, numpy",
            "x = numpy.load('../x.npy')",
            *lines,
            "numpy.save('../outputs.npy', outputs)",
            "assert not {'prunejax', 'flax', 'equinox'} & set(sys.modules)",
        ]
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=folder, env=environment)
    ours = np.load(folder.parent / "outputs.npy")
    assert distance(ours, plan.apply_fn(variables, x)) <= 1e-6


def test_an_nnx_model(tmp_path):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(2, 6, (3, 3), rngs=rngs)
            self.norm = nnx.BatchNorm(6, use_running_average=True, rngs=rngs)
            self.head = nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, x):
            return self.head(nnx.relu(self.norm(self.conv(x))).mean(axis=(1, 2)))

    graph, state = nnx.split(Net(nnx.Rngs(0)))

    def forward(variables, x):
        filled = nnx.clone(state)
        nnx.replace_by_pure_dict(filled, variables)
        return nnx.merge(graph, filled)(x)

    x = jax.random.normal(jax.random.key(1), (2, 5, 5, 2))
    plan, variables = sliced(forward, randomise(nnx.to_pure_dict(state)), x)
    found = load_sliced(save_sliced(tmp_path / "m", plan, variables, x))
    other = jnp.concatenate([x, x[:1]])
    ours = found.apply_fn(found.variables, other)
    assert distance(ours, plan.apply_fn(variables, other)) <= 1e-6


def test_an_equinox_model(tmp_path):
    class Net(eqx.Module):
        layers: list

        def __init__(self, key):
            keys = jax.random.split(key)
            self.layers = [eqx.nn.Linear(4, 7, key=keys[0]), eqx.nn.Linear(7, 3, key=keys[1])]

        def __call__(self, x):
            return self.layers[1](jax.nn.relu(self.layers[0](x)))

    variables, static = eqx.partition(Net(jax.random.key(0)), eqx.is_array)

    def forward(variables, x):
        return jax.vmap(eqx.combine(variables, static))(x)

    x = jax.random.normal(jax.random.key(1), (2, 4))
    plan, variables = sliced(forward, randomise(variables), x)
    found = load_sliced(save_sliced(tmp_path / "m", plan, variables, x))
    assert set(found.variables) == {
        f"layers/{layer}/{leaf}" for layer in (0, 1) for leaf in ("weight", "bias")
    }
    ours = found.apply_fn(found.variables, x[:1])
    assert distance(ours, plan.apply_fn(variables, x[:1])) <= 1e-6


def test_bfloat16_is_stored_as_float32_and_computed_as_it_was(tmp_path):
    def forward(variables, x):
        return jax.nn.relu(x.astype(jnp.bfloat16) @ variables["w1"]) @ variables["w2"]

    variables = {"w1": jnp.ones((4, 6), jnp.bfloat16) / 3, "w2": jnp.ones((6, 3), jnp.bfloat16)}
    plan, variables = sliced(forward, variables, jnp.ones((2, 4)))
    assert variables["w1"].shape[1] < 6
    folder = save_sliced(tmp_path / "m", plan, variables, jnp.ones((2, 4)))
    found = load_sliced(folder)
    assert {leaf.dtype for leaf in found.variables.values()} == {jnp.dtype("float32")}
    ours = found.apply_fn(found.variables, jnp.ones((3, 4)))
    assert ours.dtype == jnp.bfloat16
    assert (ours == plan.apply_fn(variables, jnp.ones((3, 4)))).all()


def test_leaves_with_the_names_of_arguments_of_savez(tmp_path):
    def forward(variables, x):
        return jax.nn.relu(x @ variables["file"]) @ variables["allow_pickle"]

    x = jnp.ones((2, 4))
    variables = randomise({"file": jnp.ones((4, 6)), "allow_pickle": jnp.ones((6, 3))})
    plan, variables = sliced(forward, variables, x)
    found = load_sliced(save_sliced(tmp_path / "m", plan, variables, x))
    assert set(found.variables) == {"file", "allow_pickle"}


def test_inputs_and_outputs_of_several_arrays(tmp_path):
    def forward(variables, x):
        hidden = jax.nn.relu(x["a"] @ variables["w1"]) * x["scale"]
        return {"y": hidden @ variables["w2"], "b": x["b"]}

    variables = randomise({"w1": jnp.ones((4, 6)), "w2": jnp.ones((6, 3))})
    x = {"a": jnp.ones((2, 4)), "b": jnp.ones((2, 1)), "scale": jnp.float32(2)}
    plan, variables = sliced(forward, variables, x)
    found = load_sliced(save_sliced(tmp_path / "m", plan, variables, x))
    x = {"a": jnp.ones((3, 4)), "b": jnp.ones((3, 1)), "scale": jnp.float32(3)}
    assert distance(found.apply_fn(found.variables, x), plan.apply_fn(variables, x)) <= 1e-6


def test_a_function_that_needs_a_number_of_images_keeps_its_batch(tmp_path):
    def forward(variables, x):
        return jax.nn.relu(x @ variables["w1"]).reshape(len(x), -1) @ variables["w2"]

    x = jnp.ones((2, 4))
    variables = randomise({"w1": jnp.ones((4, 6)), "w2": jnp.ones((6, 3))})
    plan, variables = sliced(forward, variables, x)
    with pytest.warns(UserWarning, match="batches of the size of x only"):
        folder = save_sliced(tmp_path / "m", plan, variables, x)
    assert json.loads((folder / "about.json").read_text())["input"] == {"": "float32[2,4]"}
    found = load_sliced(folder)
    assert distance(found.apply_fn(found.variables, x), plan.apply_fn(variables, x)) <= 1e-6
    with pytest.raises(ValueError, match="2"):
        found.apply_fn(found.variables, jnp.ones((3, 4)))


@pytest.mark.parametrize("kind", ["attention", "squeeze_excite"])
def test_the_batch_stays_open_in_networks_that_reshape_and_slice(kind, tmp_path):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Dense(8)(x)
            if kind == "attention":
                x = x + nn.MultiHeadDotProductAttention(num_heads=3, qkv_features=12)(x)
                x = jax.lax.slice_in_dim(nn.LayerNorm()(x), 1, 3, axis=1)
                return nn.Dense(3)(x.mean(axis=1))
            gate = nn.sigmoid(nn.Dense(8)(nn.relu(nn.Dense(5)(jnp.mean(x, axis=1)))))
            return nn.Dense(3)((x * gate[:, None]).reshape(x.shape[0], -1))

    x = jax.random.normal(jax.random.key(1), (2, 4, 5))
    with jax.numpy_dtype_promotion("standard"):
        variables = randomise(Net().init(jax.random.key(0), x))
        plan, variables = sliced(Net().apply, variables, x)
        found = load_sliced(save_sliced(tmp_path / "m", plan, variables, x))
        other = jnp.concatenate([x, x + 1])
        theirs = plan.apply_fn(variables, other)
    assert distance(found.apply_fn(found.variables, other), theirs) <= 1e-6


def test_it_replaces_an_older_one(made):
    folder, plan, variables, x = made
    save_sliced(folder, plan, jax.tree.map(lambda leaf: 2 * leaf, variables), x, description="new")
    found = load_sliced(folder)
    assert found.description == "new"
    assert (found.variables["w1"] == 2 * variables["w1"]).all()
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("step", ["archive", "replacing.put", "os.rename"])
def test_a_failure_leaves_the_old_one(made, monkeypatch, step):
    folder, plan, variables, x = made
    calls = []

    def fail(*arguments):
        calls.append(arguments)
        if step == "os.rename" and len(calls) != 2:  # of the renames the second fails
            return os.replace(*arguments)
        raise OSError("the disk is full")

    monkeypatch.setattr(f"{artifact.__name__}.{step}", fail)
    with pytest.raises(OSError, match="full"):
        save_sliced(folder, plan, variables, x, description="new")
    monkeypatch.undo()
    assert load_sliced(folder).description == "old"
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]


SAVE = """
import os, signal, sys
import jax, jax.numpy as jnp
from prunejax.network import save_sliced, trace

def forward(variables, x):
    return jax.nn.relu(x @ variables["a"]) @ variables["b"]

variables, x = {"a": jnp.ones((3, 4)), "b": jnp.ones((4, 2))}, jnp.ones((1, 3))
plan = trace(forward, variables, x).plan({})
folder, description, kill_at, times = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
renames, real = 0, os.rename

def rename(*arguments):
    global renames
    renames += 1
    if renames == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*arguments)

os.rename = rename
for _ in range(times):
    save_sliced(folder, plan, variables, x, description=description, platforms=("cpu",))
"""
"""Saves, killed before one of the renames."""


def saving(folder, description, kill_at=0, times=1):
    arguments = [str(folder), description, str(kill_at), str(times)]
    return subprocess.Popen([sys.executable, "-c", SAVE, *arguments])


@pytest.mark.parametrize("then", ["load", "save"])
def test_a_process_that_is_killed_between_its_renames_loses_nothing(made, then):
    folder, plan, variables, x = made
    process = saving(folder, "killed", kill_at=2)
    assert process.wait(timeout=120) == -9
    assert not folder.exists()
    if then == "save":
        save_sliced(folder, plan, variables, x, description="new")
    assert load_sliced(folder).description == {"load": "old", "save": "new"}[then]
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]


def test_what_a_dead_process_had_written_goes_at_the_next_save(made):
    folder, plan, variables, x = made
    assert saving(folder, "killed", kill_at=1).wait(timeout=120) == -9
    assert load_sliced(folder).description == "old"
    assert len(list(folder.parent.iterdir())) == 2
    save_sliced(folder, plan, variables, x, description="new")
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]


def test_what_a_living_process_writes_stays(made):
    folder, plan, variables, x = made
    with replacing.workplace(folder) as new:
        (new / "file").write_text("mine")
        save_sliced(folder, plan, variables, x, description="new")
        assert (new / "file").read_text() == "mine"
    assert load_sliced(folder).description == "new"
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]


def test_another_process_that_puts_its_folder_between_the_renames(made, monkeypatch, tmp_path):
    folder, plan, variables, x = made
    other = save_sliced(tmp_path / "other", plan, variables, x, description="other")
    real, calls = os.rename, []

    def rename(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            real(other, folder)
        real(*arguments)

    monkeypatch.setattr(os, "rename", rename)
    save_sliced(folder, plan, variables, x, description="new")
    assert len(calls) == 4
    assert load_sliced(folder).description == "new"
    assert [file.name for file in folder.parent.iterdir()] == [folder.name]


def test_two_processes_save_to_one_folder_at_once(tmp_path):
    folder = tmp_path / "model"
    both = [saving(folder, description, times=20) for description in ("one", "two")]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert load_sliced(folder).description in ("one", "two")
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("foreign", ["notes.txt", "plan.json"])
def test_what_is_something_else_is_not_replaced(made, tmp_path, foreign):
    _, plan, variables, x = made
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / foreign).write_text("mine")
    for target in (tmp_path / "other", tmp_path / "other" / foreign):
        with pytest.raises(FileExistsError, match="not replaced"):
            save_sliced(target, plan, variables, x)
    assert (tmp_path / "other" / foreign).read_text() == "mine"


def test_nothing_else_is_removed_from_a_folder(made):
    folder, plan, variables, x = made
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError):
        save_sliced(folder, plan, variables, x)
    assert load_sliced(folder).description == "old"


def test_an_empty_folder_and_a_link_are_filled(made, tmp_path):
    _, plan, variables, x = made
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    save_sliced(tmp_path / "link", plan, variables, x, description="new")
    assert (tmp_path / "link").is_symlink()
    assert load_sliced(tmp_path / "empty").description == "new"


@pytest.mark.parametrize("file", sorted(FILES))
def test_damage_is_told(made, file):
    folder = made[0]
    content = (folder / file).read_bytes()
    for damaged in (content[:-1], b"", b"[]", bytes([content[0] ^ 1]) + content[1:]):
        (folder / file).write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged or no sliced model"):
            load_sliced(folder)
    (folder / file).unlink()
    with pytest.raises(ValueError, match=f"(?s)damaged or no sliced model.*{file}"):
        load_sliced(folder)


def test_another_format_is_told(made):
    folder = made[0]
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps({**about, "format": "prunejax sliced model 9"}))
    with pytest.raises(ValueError, match="format is 'prunejax sliced model 9'"):
        load_sliced(folder)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing"):
        load_sliced(tmp_path / "missing")


def test_a_function_that_this_jax_cannot_read_is_told(made, monkeypatch):
    def refuse(content):
        raise ValueError("too new")

    monkeypatch.setattr(jax.export, "deserialize", refuse)
    with pytest.raises(ValueError, match=r"cannot read the function in .*too new"):
        load_sliced(made[0])


def test_a_platform_it_was_not_exported_for(made, tmp_path):
    _, plan, variables, x = made
    folder = save_sliced(tmp_path / "m", plan, variables, x, platforms=["tpu"])
    with pytest.raises(ValueError, match=r"exported for tpu, .* on cpu here: .*platforms=\('cpu'"):
        load_sliced(folder)


def test_what_cannot_be_saved_is_told_and_writes_nothing(made, tmp_path):
    _, plan, variables, x = made
    target = tmp_path / "m"
    with pytest.raises(ValueError, match="leaf 'b1' cannot be stored: it is key"):
        save_sliced(target, plan, {**variables, "b1": jax.random.key(0)}, x)
    with pytest.raises(ValueError, match="leaf 'b1' cannot be stored: it is _Opaque"):
        save_sliced(target, plan, {**variables, "b1": _Opaque()}, x)
    with pytest.raises(ValueError, match="'b1' must have the shape that the plan gives it"):
        save_sliced(target, plan, {**variables, "b1": jnp.ones(6)}, x)
    with pytest.raises(ValueError, match="description is no JSON"):
        save_sliced(target, plan, variables, x, description=jnp.ones(2))
    for platforms in (["cpu", "gpu"], []):
        with pytest.raises(ValueError, match="platforms must be one or more of cpu, cuda,"):
            save_sliced(target, plan, variables, x, platforms=platforms)
    assert not target.exists()


def test_outputs_that_other_libraries_define_are_refused(tmp_path):
    def forward(variables, x):
        return nn.FrozenDict(y=jax.nn.relu(x @ variables["w1"]) @ variables["w2"])

    variables = randomise({"w1": jnp.ones((4, 6)), "w2": jnp.ones((6, 3))})
    plan, variables = sliced(forward, variables, jnp.ones((2, 4)))
    with pytest.raises(ValueError, match=r"cannot be exported: .*FrozenDict"):
        save_sliced(tmp_path / "m", plan, variables, jnp.ones((2, 4)))
    assert not (tmp_path / "m").exists()


class _Opaque(list):
    """A leaf, because JAX looks into lists but not into what inherits from them."""
