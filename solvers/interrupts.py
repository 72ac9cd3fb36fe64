"""Ctrl-C while a solver written in another language runs.

Where Ctrl-C arrives: Python runs the handler of a signal in the main thread only. A solve in
another thread (``asyncio.to_thread``) never sees it; under ``asyncio.run`` the first Ctrl-C cancels
the task instead of raising, and a solve that blocks the loop sees the second one only.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

AGAIN = 0.05
"""Seconds after which a solver that was told to stop, and has not yet, is told again."""


class Handler:
    """A handler of Ctrl-C that raises ``KeyboardInterrupt`` once; later ones are ignored.

    Attributes:
        noted: set instead of raising, where it is not None.
    """

    def __init__(self) -> None:
        self.noted: threading.Event | None = None
        self._pressed = False

    def __call__(self, *_: object) -> None:
        """Takes the signal."""
        pressed, self._pressed = self._pressed, True
        if self.noted is not None:
            self.noted.set()
        elif not pressed:
            raise KeyboardInterrupt


@contextmanager
def once() -> Iterator[Handler]:
    """Within it, the first Ctrl-C raises ``KeyboardInterrupt``, and later ones are ignored.

    So whoever catches the first one can put the answer together undisturbed. Only Python's own
    handler is replaced: one that somebody else has set, such as asyncio's, stays.
    """
    before = signal.getsignal(signal.SIGINT)
    if isinstance(before, Handler):
        yield before
        return
    handler = Handler()
    if (
        before is not signal.default_int_handler
        or threading.current_thread() is not threading.main_thread()
    ):
        yield handler
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield handler
    finally:
        signal.signal(signal.SIGINT, before)


def interruptible(run: Callable[[], object], stop: Callable[[], object]) -> bool:
    """Runs something in a thread, so that Python goes on seeing signals meanwhile.

    It returns only when ``run`` has ended, however often Ctrl-C is pressed: a model must not be
    read while it is still being solved.

    Args:
        run: lets go of Python's lock while it works.
        stop: called after Ctrl-C, again and again until ``run`` has returned, since a solver that
            has only just begun may forget the first call.

    Returns:
        Whether there was a Ctrl-C.

    Raises:
        BaseException: what ``run``, or another signal's handler, raised.
    """
    raised: list[BaseException] = []
    ended, interrupted = threading.Event(), threading.Event()

    def work() -> None:
        try:
            run()
        except BaseException as error:
            raised.append(error)
        finally:
            ended.set()

    with once() as handler:
        handler.noted = interrupted
        # not `Thread.join`: before Python 3.13, one that Ctrl-C breaks calls the thread ended
        threading.Thread(target=work, daemon=True).start()
        while not ended.is_set():
            try:
                ended.wait(AGAIN)
                if interrupted.is_set() and not ended.is_set():
                    stop()
            except KeyboardInterrupt:  # of a handler that is not Python's own
                interrupted.set()
            except BaseException as error:
                raised.append(error)
                interrupted.set()
        handler.noted = None
    if raised:
        raise raised[0]
    return interrupted.is_set()
