import errno
import os

import pytest

from prunejax.files import write_atomically

FULL = OSError(errno.ENOSPC, "No space left on device")


def test_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "folder" / "file.bin"
    assert write_atomically(path, b"first") == path
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert os.listdir(path.parent) == ["file.bin"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, failing, error):
    path = tmp_path / "file.bin"
    write_atomically(path, b"first")

    def fail(*_):
        raise error

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(type(error)) as caught:
        write_atomically(path, b"second")
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC
        assert f"cannot write {path}: No space left on device" in str(caught.value)
    assert path.read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["file.bin"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot write .*file/below"):
        write_atomically(tmp_path / "file" / "below", b"x")


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_a_file_has_the_mode_that_the_processs_mask_leaves(tmp_path, mask):
    before = os.umask(mask)
    try:
        path = write_atomically(tmp_path / "file.bin", b"x")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
