"""Ctrl-C while a solver written in another language runs."""

import threading
from collections.abc import Callable


def interruptible(run: Callable[[], object], stop: Callable[[], object]) -> bool:
    """Runs something in a thread, so that Python goes on seeing signals meanwhile.

    Args:
        run: lets go of Python's lock while it works.
        stop: called on Ctrl-C; makes ``run`` return soon.

    Returns:
        Whether there was a Ctrl-C.

    Raises:
        BaseException: what ``run`` raised.
    """
    raised: list[BaseException] = []

    def work() -> None:
        try:
            run()
        except BaseException as error:
            raised.append(error)

    thread, interrupted = threading.Thread(target=work, daemon=True), False
    thread.start()
    while thread.is_alive():
        try:
            thread.join()
        except KeyboardInterrupt:
            interrupted = True
            stop()
    if raised:
        raise raised[0]
    return interrupted
