"""Ctrl-C while a solver written in another language runs.

Python calls the handler of a signal in the main thread only. So a solve in another thread
(``asyncio.to_thread``) never sees Ctrl-C. Under ``asyncio.run`` the first Ctrl-C cancels the task
instead of raising, and a solve that blocks the loop sees only the second one.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

AGAIN = 0.05
"""A solver that was told to stop, but runs on, is told again after so many seconds."""


class Handler:
    """A handler of Ctrl-C that raises ``KeyboardInterrupt`` once and ignores further signals.

    Attributes:
      noting: whether it notes a signal instead of raising.
      noted: whether it has noted one.
    """

    def __init__(self) -> None:
        # not a `threading.Event`: a second signal within `Event.set` would wait for its lock
        self.noting = self.noted = self._pressed = False

    def __call__(self, *_: object) -> None:
        """Handles the signal."""
        pressed, self._pressed = self._pressed, True
        if self.noting:
            self.noted = True
        elif not pressed:
            raise KeyboardInterrupt


@contextmanager
def once() -> Iterator[Handler]:
    """A context in which only the first Ctrl-C raises ``KeyboardInterrupt``.

    So the code that catches the first one can finish its answer undisturbed. Only Python's own
    handler is replaced; another one, such as asyncio's, stays.

    Yields:
      The handler, whether or not it is the one that is set.
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
    finally:  # once more, in case another signal's handler raised before this was done
        _put_back(signal.SIGINT, handler, before)


class _Held:
    """Notes what other handlers raise as long as ``holding`` is True."""

    def __init__(self) -> None:
        self.holding = True
        self.raised: list[BaseException] = []

    def around(self, handler: Callable[..., object]) -> Callable[..., None]:
        """Wraps a handler."""

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
    """A context in which no handler of a signal raises; what it would raise is noted.

    A handler can raise between any two steps of Python, also within ``except`` and ``finally``. So
    a ``try`` around a loop is not enough.

    Yields:
      The notes.
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
    """Sets the former handler again, unless ours was replaced meanwhile.

    Raises:
      BaseException: whatever a handler raised meanwhile.
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
    """Whether this is the thread in which Python calls handlers and allows setting them."""
    return threading.current_thread() is threading.main_thread()


def interruptible(run: Callable[[], object], stop: Callable[[], object]) -> bool:
    """Runs a solver in a thread, so that Python still sees signals.

    This returns or raises only when ``run`` has ended, however often Ctrl-C is pressed and whatever
    other handlers raise: a model must not be read while it is being solved.

    Args:
      run: the solver; it must release Python's lock while it works.
      stop: tells the solver to stop. It is called again and again from the first Ctrl-C until
        ``run`` has returned, because a solver that has only just begun may forget the first
        call.

    Returns:
      Whether there was a Ctrl-C.

    Raises:
      BaseException: whatever ``run``, ``stop`` or another signal's handler raised.
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
            # not `Thread.join`: before Python 3.13, if Ctrl-C breaks it, the thread counts as ended
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
