import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import checkpoint


def tree(value=1.0):
    return {
        "params": {"kernel": jnp.full((2, 3), value), "bias": jnp.zeros(3, jnp.bfloat16)},
        "masks": {"kernel": jnp.ones((2, 3), bool), "bias": None},
        "key": jax.random.key(7),
        "count": (jnp.zeros((), jnp.int32), ()),
    }


def test_what_was_saved_comes_back(tmp_path):
    checkpoint.save(tmp_path / "run", 3, tree(2.5), {"history": [1, 2.5, "x"]})
    found = checkpoint.restore(tmp_path / "run", tree(0.0))
    assert found.step == 3
    assert found.extra == {"history": [1, 2.5, "x"]}
    assert jax.tree.structure(found.tree) == jax.tree.structure(tree())
    np.testing.assert_array_equal(found.tree["params"]["kernel"], np.full((2, 3), 2.5))
    assert found.tree["params"]["bias"].dtype == jnp.bfloat16
    assert found.tree["masks"]["kernel"].dtype == bool
    assert jax.random.uniform(found.tree["key"]) == jax.random.uniform(jax.random.key(7))


def test_the_latest_counts_and_old_ones_go(tmp_path):
    for step in (1, 5, 9):
        checkpoint.save(tmp_path, step, tree(float(step)))
    assert checkpoint.restore(tmp_path, tree()).step == 9
    assert sorted(path.name for path in tmp_path.iterdir()) == ["5", "9"]
    checkpoint.save(tmp_path, 9, tree(-1.0))
    np.testing.assert_array_equal(
        checkpoint.restore(tmp_path, tree()).tree["params"]["kernel"], np.full((2, 3), -1.0)
    )


def test_nothing_to_restore(tmp_path):
    assert checkpoint.restore(tmp_path / "missing", tree()) is None
    assert not (tmp_path / "missing").exists()
    assert checkpoint.restore(tmp_path, tree()) is None


def test_another_structure_is_refused_by_name(tmp_path):
    checkpoint.save(tmp_path, 1, tree())
    other = tree()
    other["params"]["kernel"] = jnp.zeros((4, 3))
    said = r"params/kernel \(saved float32\[2, 3\], expected float32\[4, 3\]\)"
    with pytest.raises(ValueError, match=said):
        checkpoint.restore(tmp_path, other)


def test_a_damaged_checkpoint_says_so(tmp_path):
    checkpoint.save(tmp_path, 1, tree())
    for path in (tmp_path / "1" / "tree").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"step 1 in .* cannot be read"):
        checkpoint.restore(tmp_path, tree())


def test_a_negative_step_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must not be negative"):
        checkpoint.save(tmp_path, -1, tree())


def test_another_dtype_is_refused(tmp_path):
    checkpoint.save(tmp_path, 1, tree())
    other = tree()
    other["params"]["kernel"] = jnp.zeros((2, 3), jnp.int32)
    with pytest.raises(ValueError, match=r"saved float32\[2, 3\], expected int32\[2, 3\]"):
        checkpoint.restore(tmp_path, other)


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, tree(1.0))

    def full(*_, **__):
        (tmp_path / "2.orbax-checkpoint-tmp").mkdir()
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr("orbax.checkpoint.CheckpointManager.save", full)
    with pytest.raises(OSError, match=r"step 2 .*earlier ones are unchanged.*No space left"):
        checkpoint.save(tmp_path, 2, tree(2.0))
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert checkpoint.restore(tmp_path, tree()).step == 1
