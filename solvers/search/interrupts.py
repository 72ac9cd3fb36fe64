"""Ctrl-C while a solver written in another language runs.

Where Ctrl-C arrives: Python runs the handler of a signal in the main thread only. A solve in
another thread (``asyncio.to_thread``) never sees it; under ``asyncio.run`` the first Ctrl-C cancels
the task instead of raising, and a solve that blocks the loop sees the second one only.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

AGAIN = 0.05
"""A solver that was told to stop and has not stopped is told again after so many seconds."""


class Handler:
    """A handler of Ctrl-C that raises ``KeyboardInterrupt`` once; later ones are ignored.

    Attributes:
        noting: whether it only notes the signal instead of raising.
        noted: whether there was one to note.
    """

    def __init__(self) -> None:
        # not a `threading.Event`: a second signal within `Event.set` would wait for its lock
        self.noting = self.noted = self._pressed = False

    def __call__(self, *_: object) -> None:
        """Takes the signal."""
        pressed, self._pressed = self._pressed, True
        if self.noting:
            self.noted = True
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
    if before is not signal.default_int_handler or not _in_main_thread():
        yield handler
        return
    try:
        try:
            signal.signal(signal.SIGINT, handler)
            yield handler
        finally:
            _put_back(signal.SIGINT, handler, before)
    finally:  # once more, where another signal's handler raised before it was done
        _put_back(signal.SIGINT, handler, before)


class _Held:
    """Handlers of others: what they raise is noted while they are held."""

    def __init__(self) -> None:
        self.holding = True
        self.raised: list[BaseException] = []

    def around(self, handler: Callable[..., object]) -> Callable[..., None]:
        """A handler that calls another one."""

        def held(*signal_and_frame: Any) -> None:
            if not self.holding:
                handler(*signal_and_frame)
                return
            try:
                handler(*signal_and_frame)
            except BaseException as error:
                self.raised.append(error)

        return held


@contextmanager
def _held() -> Iterator[_Held]:
    """Within it, no handler of a signal raises: what it raises is noted.

    A handler can raise between any two steps of Python, also within ``except`` and ``finally``. So
    a ``try`` around a loop is not enough.
    """
    held = _Held()
    before, ours = {}, {}
    try:
        if _in_main_thread():
            for number in signal.valid_signals():
                handler = signal.getsignal(number)
                if callable(handler) and not isinstance(handler, Handler):
                    before[number], ours[number] = handler, held.around(handler)
                    signal.signal(number, ours[number])
        yield held
    finally:
        try:
            for number, handler in before.items():
                _put_back(number, ours[number], handler)
        finally:
            held.holding = False


def _put_back(number: int, ours: Callable[..., object], before: Any) -> None:
    """Sets the former handler again, unless somebody has replaced ours meanwhile.

    Raises:
        BaseException: what a handler raised meanwhile.
    """
    raised = None
    while signal.getsignal(number) is ours:
        try:
            signal.signal(number, before)  # it first calls handlers of signals that have come
        except BaseException as error:
            raised = error
    if raised is not None:
        raise raised


def _in_main_thread() -> bool:
    """Whether this is the thread in which Python calls handlers, and lets one set them."""
    return threading.current_thread() is threading.main_thread()


def interruptible(run: Callable[[], object], stop: Callable[[], object]) -> bool:
    """Runs something in a thread, so that Python goes on seeing signals meanwhile.

    It returns or raises only when ``run`` has ended, however often Ctrl-C is pressed, and whatever
    other handlers raise: a model must not be read while it is still being solved.

    Args:
        run: lets go of Python's lock while it works.
        stop: called after Ctrl-C, again and again until ``run`` has returned, since a solver that
            has only just begun may forget the first call.

    Returns:
        Whether there was a Ctrl-C.

    Raises:
        BaseException: what ``run``, ``stop`` or another signal's handler raised.
    """
    raised: list[BaseException] = []
    ended = threading.Event()

    def work() -> None:
        try:
            run()
        except BaseException as error:
            raised.append(error)
        finally:
            ended.set()

    with once() as handler, _held() as held:
        handler.noted = False
        handler.noting = True
        try:
            # not `Thread.join`: before Python 3.13, one that Ctrl-C breaks calls the thread ended
            threading.Thread(target=work, daemon=True).start()
            while not ended.wait(AGAIN):
                if handler.noted or held.raised or raised:
                    try:
                        stop()
                    except BaseException as error:
                        raised.append(error)
        finally:
            handler.noting = False
        interrupted = handler.noted or bool(held.raised)
    # a handler of Ctrl-C that is not Python's own raises KeyboardInterrupt, too
    raised += [error for error in held.raised if not isinstance(error, KeyboardInterrupt)]
    if raised:
        raise raised[0]
    return interrupted
