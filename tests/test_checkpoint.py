import errno
import inspect
import subprocess
import sys
import zipfile

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
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == ["5.npz", "9.npz"]
    assert {path.name for path in tmp_path.iterdir()} == {"5.npz", "9.npz", ".lock"}
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
    (tmp_path / "1.npz").write_bytes(b"")
    with (
        pytest.warns(UserWarning, match=r"step 1 in .* it is kept as 1\.npz\.damaged"),
        pytest.raises(ValueError, match=r"step 1 in .* cannot be read"),
    ):
        checkpoint.restore(tmp_path, tree())
    assert (tmp_path / "1.npz.damaged").exists()
    assert checkpoint.restore(tmp_path, tree()) is None


def test_a_negative_step_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must not be negative"):
        checkpoint.save(tmp_path, -1, tree())


@pytest.mark.parametrize("step", [8.0, np.float64(8), "9", float("nan"), None])
def test_a_step_that_is_no_integer_is_refused(tmp_path, step):
    """Its file would never be found."""
    with pytest.raises(ValueError, match="step must be a whole number, got"):
        inspect.unwrap(checkpoint.save)(tmp_path, step, tree())  # as users call it, types unchecked
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("step", [True, np.int64(1), jnp.int32(1)])
def test_whatever_counts_as_an_integer_is_a_step(tmp_path, step):
    checkpoint.save(tmp_path, step, tree())
    assert checkpoint.restore(tmp_path, tree()).step == 1


def test_another_dtype_is_refused(tmp_path):
    checkpoint.save(tmp_path, 1, tree())
    other = tree()
    other["params"]["kernel"] = jnp.zeros((2, 3), jnp.int32)
    with pytest.raises(ValueError, match=r"saved float32\[2, 3\], expected int32\[2, 3\]"):
        checkpoint.restore(tmp_path, other)


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, tree(1.0))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("numpy.savez", full)
    with pytest.raises(OSError, match=r"step 2 .*earlier ones are unchanged.*No space left"):
        checkpoint.save(tmp_path, 2, tree(2.0))
    monkeypatch.undo()
    assert {path.name for path in tmp_path.iterdir()} == {"1.npz", ".lock"}
    assert checkpoint.restore(tmp_path, tree()).step == 1


def test_the_one_before_is_taken_where_the_latest_is_damaged(tmp_path):
    checkpoint.save(tmp_path, 1, tree(1.0), "first")
    checkpoint.save(tmp_path, 2, tree(2.0))
    (tmp_path / "2.npz").write_bytes((tmp_path / "2.npz").read_bytes()[:200])
    with pytest.warns(UserWarning, match="step 2"):
        found = checkpoint.restore(tmp_path, tree())
    assert (found.step, found.extra) == (1, "first")
    assert (found.tree["params"]["kernel"] == 1).all()


@pytest.mark.filterwarnings("ignore:the checkpoint of step")
def test_no_flipped_bit_is_restored_in_silence(tmp_path):
    """Either the very same values come back, or the file is refused."""
    saved = {"w": np.random.default_rng(0).normal(size=(60, 50)), "n": np.arange(7)}
    checkpoint.save(tmp_path, 4, saved, {"loss": 0.5})
    path = tmp_path / "4.npz"
    good = path.read_bytes()
    # Small parts (headers, the directory at the end) are hit as often as the large array.
    ends = [*range(300), *range(len(good) - 700, len(good))]
    places = [*ends[::11], *range(300, len(good) - 700, len(good) // 60)]
    refusals = []
    for turn, place in enumerate(places):
        content = bytearray(good)
        content[place] ^= 1 << turn % 8
        path.write_bytes(content)
        try:
            found = checkpoint.restore(tmp_path, saved)
        except ValueError as error:
            refusals.append(str(error))
            continue
        assert (found.step, found.extra) == (4, {"loss": 0.5}), place
        for key, value in saved.items():
            np.testing.assert_array_equal(found.tree[key], value, err_msg=str(place))
    assert len(refusals) > len(places) / 2
    assert all("cannot be read" in said for said in refusals)


def test_wide_numbers_come_back_exactly(tmp_path):
    """JAX alone, without x64, would cut them to 32 bits."""
    saved = {
        "seen": np.array(2**40), "loss": np.array([1 + 1e-12]), "complex": np.array(1 + 1e-12j),
        "float": 1 + 1e-12, "int": 2**40, "bool": True, "scalar": np.float64(1 + 1e-12),
    }  # fmt: skip
    checkpoint.save(tmp_path, 1, saved)
    found = checkpoint.restore(tmp_path, saved).tree
    for key, value in saved.items():
        assert found[key] == value, key
        assert np.asarray(found[key]).dtype == np.asarray(value).dtype, key
    shapes = {
        key: jax.ShapeDtypeStruct(np.shape(v), np.asarray(v).dtype) for key, v in saved.items()
    }
    for key, value in checkpoint.restore(tmp_path, shapes).tree.items():
        assert value == saved[key], key


def test_leaves_of_one_path_are_refused(tmp_path):
    """Haiku calls modules "a/b"."""
    twins = {"a/b": jnp.ones((2, 2)), "a": {"b": jnp.zeros((3, 2))}}
    with pytest.raises(ValueError, match="two leaves have the path 'a/b'"):
        checkpoint.save(tmp_path, 1, twins)
    assert not any(tmp_path.iterdir())
    with pytest.raises(ValueError, match="two leaves have the path 'a/b'"):
        checkpoint.fingerprint(twins)


def test_leaves_without_entries_and_unusual_dtypes(tmp_path):
    saved = {
        "empty": jnp.zeros((0, 3)), "scalar": jnp.float16(2),
        "eighth": jnp.ones(3, jnp.float8_e4m3fn),
        "complex": jnp.ones(2, jnp.complex64) * 1j, "bytes": jnp.arange(3, dtype=jnp.uint8),
    }  # fmt: skip
    checkpoint.save(tmp_path, 1, saved)
    found = checkpoint.restore(tmp_path, saved).tree
    for key, value in saved.items():
        assert (found[key].dtype, found[key].shape) == (value.dtype, value.shape)
        np.testing.assert_array_equal(np.asarray(found[key]), np.asarray(value))
    with pytest.raises(ValueError, match="'name' is a str"):
        checkpoint.save(tmp_path, 2, {"name": "mlp"})


def test_a_process_that_is_killed_in_a_save_leaves_the_one_before(tmp_path):
    """Also where the step is saved again; what it left half written goes at the next save."""
    checkpoint.save(tmp_path, 3, tree(3.0))
    program = f"""
import os, signal, numpy
from prunejax import checkpoint
real = numpy.savez
def killed(file, **arrays):
    real(file, **dict(list(arrays.items())[:1]))
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
numpy.savez = killed
checkpoint.save({str(tmp_path)!r}, 3, {{"w": numpy.ones(3)}})
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=120)
    assert done.returncode == -9
    assert list(tmp_path.glob(".*.unfinished"))
    found = checkpoint.restore(tmp_path, tree())
    assert (found.tree["params"]["kernel"] == 3).all()
    checkpoint.save(tmp_path, 3, tree(4.0))
    assert {path.name for path in tmp_path.iterdir()} == {"3.npz", ".lock"}


def test_two_processes_save_to_one_folder(tmp_path):
    """Both end, at once, and the latest checkpoint is whole."""
    program = f"""
import numpy, time
from prunejax import checkpoint
for step in range(20):
    checkpoint.save({str(tmp_path)!r}, step, {{"w": numpy.full(50_000, step)}})
"""
    both = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [one.wait(timeout=120) for one in both] == [0, 0]
    found = checkpoint.restore(tmp_path, {"w": np.zeros(50_000, int)})
    assert found.step == 19
    assert (found.tree["w"] == 19).all()


def test_checkpoints_of_the_former_format_are_named(tmp_path):
    (tmp_path / "6" / "tree").mkdir(parents=True)
    with pytest.raises(ValueError, match="earlier format, a folder per step"):
        checkpoint.restore(tmp_path, tree())


def test_keep_counts_the_one_that_was_saved(tmp_path):
    for step in (7, 9, 2):
        checkpoint.save(tmp_path, step, tree(), keep=1)
    assert [path.name for path in tmp_path.glob("*.npz")] == ["2.npz"]
    with pytest.raises(ValueError, match="keep must be at least 1"):
        checkpoint.save(tmp_path, 3, tree(), keep=0)


def test_fingerprints_tell_trees_apart():
    first = checkpoint.fingerprint(tree())
    assert first == checkpoint.fingerprint(tree())
    others = [tree(2.0), {**tree(), "key": jax.random.key(8)}, {"params": tree()["params"]}]
    assert len({first, *map(checkpoint.fingerprint, others)}) == 4


def test_other_byte_orders_keep_their_values_and_records_are_refused(tmp_path):
    saved = {"f": np.arange(3, dtype=">f4"), "i": np.array([1, 2**40], dtype=">i8")}
    checkpoint.save(tmp_path, 1, saved)
    found = checkpoint.restore(tmp_path, saved).tree
    for key, value in saved.items():
        np.testing.assert_array_equal(found[key], value)
    with pytest.raises(ValueError, match="only arrays can be saved, but 'r'"):
        checkpoint.save(tmp_path, 2, {"r": np.zeros(3, dtype=[("a", "f4"), ("b", "i4")])})


def test_keys_know_their_implementation(tmp_path):
    saved = {"fry": jax.random.key(3), "rbg": jax.random.key(4, impl="rbg")}
    checkpoint.save(tmp_path, 1, saved)
    shapes = jax.eval_shape(lambda: saved)
    for template in (saved, shapes):
        found = checkpoint.restore(tmp_path, template).tree
        for key, value in saved.items():
            assert jax.random.uniform(found[key]) == jax.random.uniform(value)
    for other in (jax.random.key(4, impl="unsafe_rbg"), jnp.zeros(4, jnp.uint32)):
        with pytest.raises(ValueError, match=r"rbg \(saved key<rbg>\[\]"):
            checkpoint.restore(tmp_path, {**saved, "rbg": other})


def test_a_disk_that_fails_for_a_moment_is_not_taken_for_damage(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, tree(1.0))
    checkpoint.save(tmp_path, 2, tree(2.0))

    def failing(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("zipfile.ZipFile.read", failing)
    with pytest.raises(OSError, match="Input/output"):
        checkpoint.restore(tmp_path, tree())
    monkeypatch.undo()
    assert checkpoint.restore(tmp_path, tree()).step == 2


@pytest.mark.parametrize(
    "content",
    [b"{'descr': '<f4',", b"{'descr': '<f4', 'fortran_order': False, 'shape': (9999999,), }", b""],
)
def test_headers_that_lie_are_damage(tmp_path, content):
    """With a right checksum."""
    checkpoint.save(tmp_path, 1, {"w": np.ones(3)})
    header = content.ljust(118 - 1) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with zipfile.ZipFile(tmp_path / "2.npz", "w") as archive:
        archive.writestr("manifest.npy", array)
    with pytest.warns(UserWarning, match="step 2"):
        assert checkpoint.restore(tmp_path, {"w": np.ones(3)}).step == 1
    (tmp_path / "2.npz").unlink(missing_ok=True)
    deep = np.frombuffer(b"[" * 100_000, np.uint8)
    np.savez(tmp_path / "3.npz", manifest=deep)
    with pytest.warns(UserWarning, match="step 3"):
        assert checkpoint.restore(tmp_path, {"w": np.ones(3)}).step == 1


def test_a_folder_that_can_only_be_read_is_read(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, tree(1.0))

    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    assert checkpoint.restore(tmp_path, tree()).step == 1


def test_a_process_ends_after_a_save_that_failed(tmp_path):
    """No thread of a storage library is left to wait for."""
    (tmp_path / "file").write_text("in the way")
    program = f"""
from prunejax import checkpoint
import numpy
try:
    checkpoint.save({str(tmp_path / "file")!r}, 1, {{"w": numpy.zeros((0, 3)), "v": numpy.ones(3)}})
except OSError as error:
    print("refused", flush=True)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "refused\n"
