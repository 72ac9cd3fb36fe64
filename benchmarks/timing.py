"""Timing things against each other: in turns, so that a busy machine slows all of them."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax


def in_turns(
    contestants: dict[str, Callable[[], Any]],
    *,
    repeats: int,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """The median seconds of a call of each, the calls taking turns.

    Args:
      contestants: name -> a call; what it returns is waited for.
      repeats: how many calls of each are timed.
      warmup: how many calls of each come before, to compile.
      clock: reads seconds; ``time.process_time`` counts those of the CPU, which other processes do
        not lengthen.

    Returns:
      name -> median seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(warmup + repeats):
        for name, call in contestants.items():
            started = clock()
            jax.block_until_ready(call())
            if turn >= warmup:
                seconds[name].append(clock() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}
