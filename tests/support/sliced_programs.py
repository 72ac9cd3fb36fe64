"""Whether a random program from which channels were cut computes what it does with masks."""

import argparse
import contextlib
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from prunejax import masks
from prunejax.network import trace
from prunejax.network.derivatives import RuleError
from tests.support.evaluating import evaluate
from tests.support.random_programs import Network, Program, draw, network, shrunk

TOLERANCE = 1e-9
"""Of the largest entry; the arithmetic is in double precision, whose rounding is far below."""

NUDGE = 1e-12
"""By so much the parameters are changed to see whether rounding alone makes a difference."""

FORGET = 400
"""After so many programs what JAX has compiled is forgotten: it piles up."""


class Result(NamedTuple):
    """What came out.

    Attributes:
      groups: the widths of the groups that can be removed.
      notes: what happened on the way: "no gradient", "not finite", "rounding".
      failure: how the sliced program differs; "" if it does not.
    """

    groups: tuple[int, ...]
    notes: tuple[str, ...]
    failure: str


def check(program: Program, *, thorough: bool = True) -> Result:
    """Slices a program by several plans and compares it with the masked one.

    Args:
      program: the program.
      thorough: two random plans, each group alone, and gradients; otherwise one random plan, and
        of every third program gradients, of every fourth the groups alone.

    Returns:
      The result.

    Raises:
      Invalid: the program itself does not run.
    """
    with jax.enable_x64(True), strictly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = network(program)
        except Exception as error:
            raise Invalid(program) from error
        try:
            found = trace(made.apply_fn, made.variables, made.x)
        except Exception as error:
            return Result((), (), f"trace: {_said(error)}")
        widths = tuple(group.width for group in found.groups.values())
        notes: list[str] = []
        for number, (which, keep) in enumerate(_plans(found.groups, program, thorough)):
            slopes = number == 0 and (thorough or program.seed % 3 == 0)
            plan = found.plan(keep)
            try:
                failure = compare(made, plan, plan.masks(made.variables), slopes, notes)
            except Invalid:
                raise
            except Exception as error:
                failure = f"raises {_said(error)}"
            if failure:
                cut = {name: np.flatnonzero(~kept).tolist() for name, kept in keep.items()}
                return Result(widths, tuple(notes), f"{which} {cut}: {failure}")
        return Result(widths, tuple(notes), "")


def strictly() -> Any:
    """No dtype is mixed with another by accident, neither here nor in the library."""
    return jax.numpy_dtype_promotion("strict")


class Invalid(Exception):  # noqa: N818
    """The program itself does not run: nothing is said about slicing."""


def _plans(groups: Any, program: Program, thorough: bool) -> Iterator[tuple[str, Any]]:
    numbers = np.random.default_rng(program.seed)
    for which in range(2 if thorough else 1) if groups else ():
        keep = {}
        for name, group in groups.items():
            keep[name] = numbers.random(group.width) < 0.6
            keep[name][numbers.integers(group.width)] = True
        yield f"plan {which}", keep
    if thorough or program.seed % 4 == 1:
        for name, group in groups.items():
            if group.width > 1:
                yield "alone", {name: np.arange(group.width) == numbers.integers(group.width)}


def compare(made: Network, plan: Any, masked: Any, slopes: bool, notes: list[str]) -> str:
    """How the sliced program differs from the masked one.

    Args:
      made: the program.
      plan: which channels stay.
      masked: the masks of the same plan.
      slopes: whether to compare derivatives too.
      notes: is added to.

    Returns:
      What differs, "" if nothing does.
    """
    smaller = plan.slice(made.variables)
    pairs: list[tuple[str, Callable[..., Any], Callable[..., Any]]] = [
        (
            "outputs",
            lambda v: made.apply_fn(masks.apply(v, masked), made.x),
            lambda v: plan.apply_fn(v, made.x),
        )
    ]
    if slopes:
        ((_, original, sliced),) = pairs
        # updated state of removed channels is no part of the smaller network's
        if made.reverse:
            pairs.append(("gradient", _slopes(original, plan), _slopes(sliced, None)))
        pairs.append(("forward derivative", _along(original), _along(sliced)))
    for what, original, sliced in pairs:
        try:
            theirs = evaluate(original, made.variables)
        except Exception as error:
            if what == "outputs":
                raise Invalid(what) from error
            notes.append("no gradient")
            continue
        try:
            ours = evaluate(sliced, smaller)
        except RuleError:
            notes.append("refused derivative")
            continue
        failure = _unlike(ours, theirs, plan, TOLERANCE)
        if not failure:
            continue
        if not _finite(theirs):
            notes.append("not finite")
        elif _shaky(original, made.variables, theirs):
            notes.append("rounding")
        else:
            return f"{what}: {failure}"
    return ""


def _along(function: Callable[..., Any]) -> Callable[..., Any]:
    """The derivative of the outputs in the direction of the parameters."""
    return lambda variables: jax.jvp(function, (variables,), (variables,))[1]


def _slopes(function: Callable[..., Any], plan: Any) -> Callable[..., Any]:
    """The gradient of the sum of squares of all outputs with respect to the parameters."""

    def loss(variables: Any) -> Any:
        outputs = function(variables)
        if plan is not None:
            with contextlib.suppress(ValueError):  # no output belongs to the network
                outputs = plan.slice(outputs)
        leaves = [leaf for leaf in jax.tree.leaves(outputs) if _floating(leaf)]
        return sum(((leaf * leaf).sum() for leaf in leaves), start=jnp.zeros(()))

    return jax.grad(loss)


def _floating(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _unlike(ours: Any, theirs: Any, plan: Any, tolerance: float) -> str:
    """How two trees differ; leaves that belong to the network may be smaller in the first."""
    if jax.tree.structure(ours) != jax.tree.structure(theirs):
        return f"{jax.tree.structure(ours)} instead of {jax.tree.structure(theirs)}"
    try:
        cut = plan.slice(theirs)
    except ValueError:
        cut = theirs  # no leaf belongs to the network
    pairs = zip(
        jax.tree_util.tree_leaves_with_path(ours),
        jax.tree.leaves(theirs),
        jax.tree.leaves(cut),
        strict=True,
    )
    for (path, mine), whole, part in pairs:
        mine, whole, part = (np.asarray(leaf) for leaf in (mine, whole, part))
        their = part if mine.shape == part.shape else whole
        named = jax.tree_util.keystr(path) or "the output"
        if mine.shape != their.shape or mine.dtype != their.dtype:
            return f"{named} is {mine.dtype}{mine.shape} instead of {their.dtype}{their.shape}"
        if not np.isfinite(mine).all() or not np.isfinite(their).all():
            if not np.array_equal(np.isfinite(mine), np.isfinite(their)):
                return f"{named} is not finite at other places"
            mine, their = np.nan_to_num(mine), np.nan_to_num(their)
        away = float(np.abs(mine.astype(float) - their.astype(float)).max(initial=0))
        if away > tolerance * max(float(np.abs(whole).max(initial=0)), 1e-6):
            return f"{named} is off by {away:.2g}, of at most {np.abs(their).max(initial=0):.2g}"
    return ""


def _finite(tree: Any) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def _shaky(function: Callable[..., Any], variables: Any, before: Any) -> bool:
    """Whether rounding alone changes what a function gives: a step just where a number stands."""
    for seed in range(6):
        numbers = np.random.default_rng(seed)
        moved = jax.tree.map(
            lambda leaf, numbers=numbers: leaf * (1 + NUDGE * numbers.standard_normal(leaf.shape)),
            variables,
        )
        now = evaluate(function, moved)
        for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(now), strict=True):
            away = np.abs(np.asarray(one, float) - np.asarray(other, float)).max(initial=0)
            if not away <= 0.3 * TOLERANCE * max(np.abs(one).max(initial=0), 1e-6):
                return True
    return False


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200]}"


def fails(program: Program) -> bool:
    """Whether slicing it goes wrong."""
    try:
        return bool(check(program).failure)
    except Invalid:
        return False


def main() -> None:
    """Runs many programs and prints those that fail."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tries", type=int, default=200, help="to make a failing program shorter")
    given = parser.parse_args()
    numbers = np.random.default_rng(given.seed)
    seen: Counter[str] = Counter()
    for number in range(given.count):
        if number % FORGET == FORGET - 1:
            jax.clear_caches()
        program = draw(numbers)
        try:
            result = check(program)
        except Invalid as error:
            seen["invalid"] += 1
            print(f"{program}\n  does not run: {error.__cause__!r}", flush=True)
            continue
        seen["with groups"] += bool(result.groups)
        seen.update(set(result.notes))
        if result.failure:
            seen["failed"] += 1
            program = shrunk(program, fails, given.tries)
            print(f"{program}\n  {check(program).failure}", flush=True)
        if number % 100 == 99:
            print(f"{number + 1} programs: {dict(seen)}", file=sys.stderr, flush=True)
    print(f"{given.count} programs, seed {given.seed}: {dict(seen)}")
    raise SystemExit(int(seen["failed"] > 0))
