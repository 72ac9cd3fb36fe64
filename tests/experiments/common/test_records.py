import errno
import json
import os

import numpy as np
import pytest

from experiments.common import records

CONFIG = {"model": "mlp", "sparsities": (0.9, 0.98), "nested": {"seed": 1}}


def save(path, **changes):
    given = {"config": CONFIG, "metrics": {"accuracy": 0.5}, "history": [], "seconds": {}}
    return records.save(path, **(given | changes))


def test_the_hash_depends_on_values_and_not_on_order():
    reordered = {"nested": {"seed": 1}, "sparsities": [0.9, 0.98], "model": "mlp"}
    assert records.config_hash(CONFIG) == records.config_hash(reordered)
    assert len(records.config_hash(CONFIG)) == 16
    for change in ({"model": "vgg"}, {"nested": {"seed": 2}}, {"sparsities": (0.9,)}):
        assert records.config_hash(CONFIG | change) != records.config_hash(CONFIG)


def test_a_record_comes_back_whole(tmp_path):
    path = records.path_of(tmp_path, "compare", CONFIG)
    assert path.parent.parent == tmp_path / "compare"
    metrics = {"accuracy": np.float32(0.5), "loss": float("nan"), "kept": np.int64(3)}
    saved = save(path, metrics=metrics)
    loaded = records.load(path, CONFIG)
    assert loaded == saved
    assert loaded["metrics"] == {"accuracy": 0.5, "loss": None, "kept": 3}
    assert loaded["versions"].keys() >= {"jax", "flax", "optax", "prunejax"}
    assert "cores" in loaded["device"]
    assert loaded["date"].startswith("20")
    assert [one["metrics"] for one in records.load_all(tmp_path, "compare")] == [saved["metrics"]]


def test_no_record_is_none(tmp_path):
    assert records.load(tmp_path / "none.json") is None
    assert list(records.load_all(tmp_path, "compare")) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[1, 2]",
        lambda text: json.dumps({"config": CONFIG}),
        lambda text: text.replace('"metrics": {', '"metrics": 3, "was": {'),
        lambda text: text.replace('"seed": 1', '"seed": 2'),
        lambda text: "\udcff",
    ],
)
def test_a_damaged_record_is_set_aside_and_said(tmp_path, damage):
    path = records.path_of(tmp_path, "compare", CONFIG)
    save(path)
    content = damage(path.read_text()).encode(errors="surrogateescape")
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"is damaged .*json\.damaged"):
        assert records.load(path, CONFIG) is None
    assert not path.exists()
    assert path.with_suffix(".json.damaged").read_bytes() == content


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    path = records.path_of(tmp_path, "compare", CONFIG)
    save(path)
    before = path.read_bytes()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device; what stood there is unchanged"):
        save(path, metrics={"accuracy": 0.9})
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
