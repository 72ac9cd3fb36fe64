"""Moving the coming batches to the device while the present one is worked on."""

import atexit
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import jax

_JOIN_SECONDS = 1.0


def prefetch(
    iterator: Iterable[Any], size: int = 2, sharding: jax.sharding.Sharding | None = None
) -> Iterator[Any]:
    """Yields the items of ``iterator`` in order, moved to the device ahead of time by a thread.

    The thread starts when the first item is asked for. It ends with the last item, on an
    exception, or when the returned iterator is given up: closed, garbage collected (a ``for`` loop
    over ``prefetch(...)`` that breaks does that), or left at the exit of the program.

    Args:
      iterator: of pytrees of arrays, for instance ``batches(...)``; only the thread reads it.
      size: how many items may wait on the device, besides the one in use.
      sharding: where the arrays go; None for the default device.

    Returns:
      An iterator of the same items with JAX arrays as leaves. An exception in ``iterator``, or on
      the way to the device, is raised in the place of the item that it concerns.

    Raises:
      ValueError: ``size`` is below 1.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    return _stream(iter(iterator), size, sharding)


def _stream(
    source: Iterator[Any], size: int, sharding: jax.sharding.Sharding | None
) -> Iterator[Any]:
    free_slots = threading.Semaphore(size)
    ready: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
    given_up = threading.Event()
    # A thread does not inherit the caller's `with jax.default_device(...)`, nor `enable_x64`.
    config: Any = jax.config
    default_device, wide = config.jax_default_device, config.jax_enable_x64

    def produce() -> None:
        try:
            with jax.default_device(default_device), jax.enable_x64(wide):
                for item in source:
                    free_slots.acquire()
                    if given_up.is_set():
                        return
                    ready.put((jax.device_put(item, sharding), None))
            ready.put((None, StopIteration()))
        except BaseException as error:
            ready.put((None, error))

    thread = threading.Thread(target=produce, name="prunejax-prefetch", daemon=True)

    def end() -> None:
        given_up.set()
        free_slots.release()
        if thread is not threading.current_thread():  # where garbage collection may run
            thread.join(_JOIN_SECONDS)

    atexit.register(end)  # before jax's own, which clears the backends under the thread
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            free_slots.release()
            yield item
    finally:
        if not given_up.is_set():  # else the program is ending, and atexit itself is gone
            atexit.unregister(end)
            end()
