"""Ctrl-C: a solver's thread has ended before its answer is read, however often it is pressed."""

import contextlib
import itertools
import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

from solvers.critical_neurons import Problem, solve
from solvers.layers import Dense, Relu
from solvers.search import interrupts, local_search
from solvers.search.interrupts import interruptible
from solvers.search.masks import Evaluator
from solvers.settings import Settings


@pytest.fixture(autouse=True)
def listening():
    """Ctrl-C raises, also where tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def pressed(*seconds):
    """Ctrl-C after so many seconds, each."""
    timers = [
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)) for after in sorted(seconds)
    ]
    for timer in timers:
        timer.start()
    try:
        yield
    finally:
        for timer in timers:
            timer.join()


class Worker:
    """Works for half a second after it was told to stop, as a solver in its last step does.

    Args:
        deaf: for how many calls ``stop`` does nothing, as with a solver that has not begun.
    """

    def __init__(self, deaf=0):
        self.told, self.calls, self.deaf, self.ended = threading.Event(), 0, deaf, False

    def run(self):
        self.told.wait(20)
        time.sleep(0.4)
        self.ended = True

    def stop(self):
        self.calls += 1
        if self.calls > self.deaf:
            self.told.set()


@pytest.mark.parametrize("seconds", [(0.1,), (0.1, 0.2), (0.1, 0.101, 0.102, 0.3)])
def test_the_thread_has_ended(seconds):
    worker = Worker()
    with pressed(*seconds):
        assert interruptible(worker.run, worker.stop)
        assert worker.ended


def test_a_solver_that_forgets_a_stop_is_told_again():
    worker = Worker(deaf=3)
    with pressed(0.1):
        assert interruptible(worker.run, worker.stop)
    assert worker.ended
    assert worker.calls > 3


def test_without_ctrl_c():
    seen = []
    assert not interruptible(lambda: seen.append(threading.current_thread()), seen.clear)
    assert seen[0] is not threading.main_thread()
    with pytest.raises(ZeroDivisionError):
        interruptible(lambda: 1 // 0, seen.clear)


def test_handlers_of_others_stay():
    """One that raises is Ctrl-C, one that does not, as asyncio's first, swallows it."""
    taken = []

    def handler(*_):
        taken.append(True)
        if len(taken) > 1:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    try:
        worker = Worker()
        with pressed(0.1, 0.4):
            started = time.perf_counter()
            assert interruptible(worker.run, worker.stop)
        assert worker.ended
        assert time.perf_counter() - started >= 0.7
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_what_another_signal_raises_is_raised_when_the_thread_has_ended():
    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    try:
        worker = Worker()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(TimeoutError):
            interruptible(worker.run, worker.stop)
        assert worker.ended
    finally:
        signal.signal(signal.SIGALRM, before)


class TooLateError(Exception):
    """What a handler of somebody else's raises."""


@contextlib.contextmanager
def raising(number):
    """A handler that raises, wherever it finds ``interrupts`` at work."""

    def handler(_, frame):
        while frame is not None:
            if frame.f_code.co_filename == interrupts.__file__:
                raise TooLateError
            frame = frame.f_back

    before = signal.signal(number, handler)
    try:
        yield handler
    finally:
        signal.signal(number, before)


class Short:
    """Works for some milliseconds, and says when."""

    def __init__(self):
        self.running, self.told = False, threading.Event()

    def run(self):
        self.running = True
        self.told.wait(0.01)
        time.sleep(0.002)
        self.running = False


def at_step(call, number, step):
    """Calls something, and sends a signal at a step of ``interrupts``; whether it came so far."""
    steps = 0

    def trace(frame, event, _):
        nonlocal steps
        if frame.f_code.co_filename != interrupts.__file__ and frame.f_code.co_name != "start":
            return None
        if event == "line":
            steps += 1
            if steps == step:
                signal.raise_signal(number)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with contextlib.suppress(TooLateError):
            call()
    finally:
        sys.settrace(before)
    return steps >= step


@pytest.mark.parametrize("number", [signal.SIGALRM, signal.SIGINT])
def test_a_handler_that_raises_at_any_step_does_not_leave_the_worker_behind(number):
    with raising(number) as handler:
        for step in itertools.count(1):
            worker = Short()
            came = at_step(lambda: interruptible(worker.run, worker.told.set), number, step)  # noqa: B023
            assert not worker.running, step
            assert signal.getsignal(number) is handler, step
            if number != signal.SIGINT:
                assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, step
            if not came:
                break
        assert step > 50


@pytest.mark.parametrize("number", [signal.SIGALRM, signal.SIGINT])
def test_a_handler_that_raises_all_the_time_does_not_leave_the_worker_behind(number):
    over = threading.Event()

    def press():
        while not over.wait(1e-4):
            signal.pthread_kill(threading.main_thread().ident, number)

    with raising(number) as handler:
        presser = threading.Thread(target=press)
        presser.start()
        try:
            for _ in range(50):
                worker = Short()
                with contextlib.suppress(TooLateError):
                    interruptible(worker.run, worker.told.set)
                assert not worker.running
                assert signal.getsignal(number) is handler
        finally:
            over.set()
            presser.join()


def test_ctrl_c_held_down_ends_in_one_answer():
    """Python's own handler: one Ctrl-C within another one's handler waits for no lock."""
    over = threading.Event()

    def press():
        while not over.wait(1e-5):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    with interrupts.once() as handler:
        presser = threading.Thread(target=press)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        presser.start()
        try:
            for _ in range(20):
                worker = Short()
                assert interruptible(worker.run, worker.told.set)
                assert not worker.running
        finally:
            over.set()
            presser.join()
        assert not handler.noting


def test_only_the_first_one_raises():
    with interrupts.once():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        with interrupts.once():
            signal.raise_signal(signal.SIGINT)
        worker = Worker()
        with pressed(0.1):
            assert interruptible(worker.run, worker.stop)
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("backend", ["scip", "highs"])
def test_a_bound_holds_after_ctrl_c_pressed_twice(backend, monkeypatch):
    module = Settings(backend=backend).solver()
    mip = module.solve_mip

    def solve_mip(*given, **more):
        with pressed(0.5, 0.52):
            result = mip(*given, **more)
            time.sleep(0.1)  # the second one comes in here at the latest
            return result

    monkeypatch.setattr(module, "solve_mip", solve_mip)
    random = np.random.default_rng(0)
    layers = [
        Dense(random.normal(size=(20, 24)), random.normal(size=24)),
        Relu(),
        Dense(random.normal(size=(24, 24)), random.normal(size=24)),
        Relu(),
        Dense(random.normal(size=(24, 10))),
    ]
    inputs, labels = random.uniform(size=(8, 20)), random.integers(0, 10, size=8)
    problem = Problem(layers, inputs, labels, loss_weight=1.0)
    found = solve(problem, mode="exact", backend=backend, time_limit=60)
    assert found.status == "interrupted"
    evaluator = Evaluator(problem, [24, 24])
    best = min(
        mask.objective
        for seed in range(2)
        for mask in local_search.search(evaluator, seed, 4, np.inf)
    )
    assert found.bound <= min(best, found.objective) + 1e-9
