"""Random programs: what is cut computes what the masked original does, whatever the program.

Which channels can go is not said here: a program may keep all of them, but never be wrong.
"""

import secrets
from collections.abc import Callable
from typing import Any, NamedTuple

import hypothesis
import jax
import numpy as np
import pytest
from hypothesis import strategies as st

from prunejax.masks import name
from prunejax.network import trace
from tests.support.evaluating import evaluate
from tests.support.random_programs import (
    LARGEST_NUMBER,
    NAMES,
    Program,
    draw,
    network,
    shrunk,
)
from tests.support.sliced_programs import check, compare, fails

numbers = st.integers(0, LARGEST_NUMBER)
steps = st.tuples(
    st.sampled_from(NAMES), st.sampled_from((0, 0, 0, 0, 1, 1, 2, 3)), numbers, numbers
)
programs = st.builds(
    Program,
    st.lists(steps, min_size=1, max_size=6).map(tuple),
    st.sampled_from(("sequence", "sequence", "sequence", "image", "image", "vector", "tokens")),
    st.integers(0, 7),
    st.booleans(),
    st.integers(0, 99),
)

SHARDS = 10
EACH = 500


@hypothesis.settings(
    max_examples=200,
    derandomize=True,
    database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
@hypothesis.given(programs)
def test_random_programs(program):
    result = check(program, thorough=False)
    hypothesis.event(f"with groups: {bool(result.groups)}")
    for note in set(result.notes):
        hypothesis.event(note)
    for step in sorted({step for step, *_ in program.steps}):
        hypothesis.event(f"step {step}")
    assert not result.failure, f"{program!r}: {result.failure}"


@pytest.mark.slow
@pytest.mark.parametrize("shard", range(SHARDS))
def test_many_random_programs(shard):
    seed = secrets.randbits(32)
    drawing = np.random.default_rng(seed)
    failed = []
    for _ in range(EACH):
        program = draw(drawing)
        if fails(program):
            program = shrunk(program, fails)
            failed.append(f"{program!r}: {check(program).failure}")
    assert not failed, f"seed {seed}:\n" + "\n".join(failed)


# ------------------------------------------------------------------ the check itself

SMALL = Program((("residual", 0, 1, 0), ("batch_norm", 0, 1, 1), ("dense_relu", 0, 0, 1)), seed=1)


class Wrong(NamedTuple):
    """A plan, one of whose functions is another."""

    slice: Callable[[Any], Any]
    apply_fn: Callable[[Any, Any], Any]


def _planned(seed):
    made = network(SMALL)
    found = trace(made.apply_fn, made.variables, made.x)
    drawing = np.random.default_rng(seed)
    keep = {}
    for group_name, group in found.groups.items():
        keep[group_name] = drawing.permutation(group.width) < group.width // 2
    return made, found.plan(keep)


@pytest.fixture
def _double():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("_double")
def test_a_right_plan_passes():
    made, plan = _planned(0)
    assert len(plan.network.groups) == 3
    assert not compare(made, plan, plan.masks(made.variables), slopes=True, notes=[])


@pytest.mark.usefixtures("_double")
def test_channels_in_another_order_are_seen():
    made, plan = _planned(0)
    for path in plan.by_leaf():

        def permuted(variables, path=path):
            return jax.tree_util.tree_map_with_path(
                lambda at, leaf: np.flip(leaf) if name(at) == path else leaf, plan.slice(variables)
            )

        wrong = Wrong(permuted, plan.apply_fn)
        assert compare(made, wrong, plan.masks(made.variables), slopes=False, notes=[])


@pytest.mark.usefixtures("_double")
def test_masks_of_another_plan_are_seen():
    made, plan = _planned(0)
    _, other = _planned(1)
    assert compare(made, plan, other.masks(made.variables), slopes=False, notes=[])


@pytest.mark.usefixtures("_double")
def test_a_wrong_gradient_is_seen():
    made, plan = _planned(0)

    @jax.custom_jvp
    def biased(leaf):
        return leaf

    biased.defjvps(lambda moved, *_: 1.001 * moved)

    def apply_fn(variables, x):
        return jax.tree.map(biased, plan.apply_fn(variables, x))

    masked = plan.masks(made.variables)
    wrong = Wrong(plan.slice, apply_fn)
    assert not compare(made, wrong, masked, slopes=False, notes=[])
    assert compare(made, wrong, masked, slopes=True, notes=[]).startswith("gradient")


@pytest.mark.usefixtures("_double")
def test_numbers_that_are_no_numbers_at_other_places_are_seen():
    made, plan = _planned(0)

    def apply_fn(variables, x):
        return jax.tree.map(lambda leaf: leaf / 0, plan.apply_fn(variables, x))

    wrong = Wrong(plan.slice, apply_fn)
    assert "not finite" in compare(made, wrong, plan.masks(made.variables), slopes=False, notes=[])


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("seed", range(8))
def test_programs_are_evaluated_as_jax_does(seed):
    made = network(draw(np.random.default_rng(seed)))

    def forward(variables):
        return made.apply_fn(variables, made.x)

    ours, theirs = evaluate(forward, made.variables), jax.jit(forward)(made.variables)
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for mine, their in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert (mine.shape, mine.dtype) == (their.shape, their.dtype)
        scale = np.abs(their).max(initial=1)
        np.testing.assert_allclose(mine, their, rtol=1e-9, atol=1e-9 * scale)
