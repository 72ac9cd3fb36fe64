import gc
import itertools
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from prunejax.data import prefetch


def running():
    return [thread for thread in threading.enumerate() if thread.name == "prunejax-prefetch"]


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    assert not running()
    yield
    wait_until(lambda: not running())


def numbers(pulled=None):
    """An endless source that notes what was taken."""
    for n in itertools.count():
        if pulled is not None:
            pulled.append(n)
        yield np.full(3, n, np.float32)


def failing(after):
    yield from itertools.islice(numbers(), after)
    raise KeyError("the source broke")


@pytest.mark.parametrize("size", [1, 2, 7])
def test_items_arrive_in_order_on_the_device(size):
    source = [(np.full((2, 2), n, np.float32), {"labels": np.int32(n)}) for n in range(50)]
    arrived = list(prefetch(source, size))
    assert len(arrived) == 50
    for n, (images, rest) in enumerate(arrived):
        assert isinstance(images, jax.Array)
        assert isinstance(rest["labels"], jax.Array)
        np.testing.assert_array_equal(images, np.full((2, 2), n))
        assert rest["labels"] == n


def test_an_empty_source_is_empty():
    assert list(prefetch([])) == []


@pytest.mark.parametrize("size", [1, 3])
def test_it_works_ahead_but_not_too_far(size):
    pulled = []
    stream = prefetch(numbers(pulled), size)
    assert pulled == []
    next(stream)
    wait_until(lambda: len(pulled) == 1 + size + 1)  # in use, waiting, in the thread's hands
    time.sleep(0.05)
    assert len(pulled) == 1 + size + 1
    stream.close()


def test_the_thread_overlaps_with_the_consumer():
    pulled = []
    stream = prefetch(numbers(pulled), 2)
    next(stream)
    wait_until(lambda: len(pulled) > 2)  # while nobody asks
    stream.close()


@pytest.mark.parametrize("after", [0, 1, 5])
def test_an_exception_arrives_in_its_place(after):
    stream = prefetch(failing(after))
    for n in range(after):
        assert next(stream)[0] == n
    with pytest.raises(KeyError, match="the source broke") as raised:
        next(stream)
    assert "failing" in [entry.name for entry in raised.traceback]
    with pytest.raises(StopIteration):
        next(stream)


def test_an_item_that_cannot_be_moved_is_an_exception():
    stream = prefetch([np.ones(2), "not an array"])
    next(stream)
    with pytest.raises(TypeError):
        next(stream)


def test_a_break_ends_the_thread():
    for n, item in enumerate(prefetch(numbers())):
        assert item[0] == n
        if n == 3:
            assert running()
            break
    wait_until(lambda: not running())


def test_closing_ends_the_thread_before_it_returns():
    pulled = []
    stream = prefetch(numbers(pulled))
    next(stream)
    stream.close()
    assert not running()
    taken = len(pulled)
    time.sleep(0.05)
    assert len(pulled) == taken


def test_garbage_collection_ends_the_thread():
    stream = prefetch(numbers())
    next(stream)
    cycle = [stream]
    cycle.append(cycle)
    del stream, cycle
    gc.collect()
    wait_until(lambda: not running())


def test_an_exception_in_the_consumer_ends_the_thread():
    def consume():
        for _ in prefetch(numbers()):
            raise RuntimeError("the step broke")

    with pytest.raises(RuntimeError, match="the step broke"):
        consume()
    gc.collect()
    wait_until(lambda: not running())


def test_an_iterator_that_was_never_started_has_no_thread():
    prefetch(numbers())
    assert not running()


def test_arrays_go_where_the_sharding_says():
    mesh = jax.make_mesh((1,), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
    for item in prefetch([np.ones(4), np.ones((4, 2))], sharding=sharding):
        assert item.sharding == sharding


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_1_is_refused_at_once(size):
    with pytest.raises(ValueError, match=f"size must be at least 1, got {size}"):
        prefetch(numbers(), size)


def test_it_follows_the_default_device_and_lets_the_program_exit():
    program = """if True:
        import itertools
        import jax
        import numpy as np
        from prunejax.data import prefetch
        endless = (np.ones(100000) for _ in itertools.count())
        with jax.default_device(jax.devices()[1]):
            stream = prefetch(endless)
            assert next(stream).device == jax.devices()[1]
    """
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "PATH": "/usr/bin",
        },
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
