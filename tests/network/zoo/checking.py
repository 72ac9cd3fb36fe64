"""A sliced network against its masked original: outputs, state and gradients, compiled."""

import contextlib
from typing import Any

import jax
import jax.numpy as jnp

from prunejax import masks
from prunejax.network import Network, Plan
from tests.network.zoo.entry import Built, Entry
from tests.support.slicing_checks import compiled, distance, random_keep

TOLERANCE = 1e-5


def precision(entry: Entry) -> Any:
    """The context in which a network is built, traced and compared."""
    return jax.enable_x64(True) if entry.double else contextlib.nullcontext()


def doubled(built: Built) -> Built:
    """The same with float64 in place of float32."""
    wide = {jnp.dtype(jnp.float32): jnp.float64, jnp.dtype(jnp.complex64): jnp.complex128}

    def widen(leaf: Any) -> Any:
        return leaf.astype(wide.get(leaf.dtype, leaf.dtype))

    return Built(built.apply_fn, *(jax.tree.map(widen, tree) for tree in built[1:]))


def agree(entry: Entry, built: Built, network: Network) -> None:
    """Removes about half of every group, and compares."""
    plan = network.plan(random_keep(network))
    variables = masks.apply(built.variables, plan.masks(built.variables))
    sliced = plan.slice(built.variables)
    theirs = compiled(_with_slopes(entry, built.apply_fn))(variables, built.x)
    ours = compiled(_with_slopes(entry, plan.apply_fn))(sliced, built.x)
    _compare(entry, plan, sliced, ours[0], theirs[0])
    if entry.differentiable:
        slopes = plan.slice(_filled(variables, theirs[1]))
        assert distance(ours[1], _inexact(slopes)) <= TOLERANCE
    _compare(
        entry,
        plan,
        sliced,
        compiled(plan.apply_fn)(sliced, built.another_x),
        compiled(built.apply_fn)(variables, built.another_x),
    )


def _compare(entry: Entry, plan: Plan, sliced: Any, ours: Any, theirs: Any) -> None:
    if entry.state is not None:
        ours, our_state = entry.state(ours)
        theirs, their_state = entry.state(theirs)
        assert distance(_inexact(our_state), _inexact(plan.slice(their_state))) <= TOLERANCE
    assert distance(_inexact(ours), _inexact(theirs)) <= TOLERANCE


def _with_slopes(entry: Entry, forward: Any) -> Any:
    """Outputs, and the gradient of the mean of their squares by each inexact variable."""

    def loss(inexact: list[Any], variables: Any, x: Any) -> Any:
        outputs = forward(_filled(variables, inexact), x)
        seen = outputs if entry.state is None else entry.state(outputs)[0]
        squares = [jnp.square(jnp.abs(leaf)) for leaf in _inexact(seen)]
        return sum(s.sum() for s in squares) / sum(s.size for s in squares), outputs

    def run(variables: Any, x: Any) -> Any:
        if not entry.differentiable:
            return forward(variables, x), None
        slopes, outputs = jax.grad(loss, has_aux=True)(_inexact(variables), variables, x)
        return outputs, slopes

    return run


def _inexact(tree: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def _filled(tree: Any, inexact: list[Any]) -> Any:
    """The tree with other floating point leaves."""
    rest = iter(inexact)
    return jax.tree.map(
        lambda leaf: next(rest) if jnp.issubdtype(leaf.dtype, jnp.inexact) else leaf, tree
    )
