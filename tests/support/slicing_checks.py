"""Checks that a sliced network computes what the masked original does."""

import jax
import jax.numpy as jnp
import numpy as np

from prunejax import masks
from prunejax.network import trace


def randomise(variables, seed=0):
    """Every leaf random, so that biases, scales and statistics matter; variances positive."""
    random = np.random.default_rng(seed)

    def draw(path, leaf):
        size = random.uniform(0.3, 1.2, leaf.shape) / np.sqrt(
            max(1, np.prod(leaf.shape[:-1], dtype=int) / 2)
        )
        sign = random.choice([-1, 1], leaf.shape)
        variance = masks.name(path).split("/")[-1] == "var"
        return jnp.asarray(size + 0.2 if variance else size * sign, leaf.dtype)

    return jax.tree_util.tree_map_with_path(draw, variables)


def random_keep(network, seed=0):
    """About half of every group: one channel at least is kept, and one at least removed."""
    random = np.random.default_rng(seed)
    keep = {}
    for name, group in network.groups.items():
        keep[name] = random.random(group.width) < 0.5
        first, last = random.permutation(group.width)[[0, -1]]
        keep[name][last] = False
        keep[name][first] = True
    return keep


def compiled(function):
    """Compiles quickly; the code is slow, which does not matter here."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0})


def distance(ours, theirs):
    """The greatest difference between two trees, relative to the second's greatest entry."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    scale = max(float(np.abs(leaf).max(initial=0)) for leaf in jax.tree.leaves(theirs))
    assert np.isfinite(scale)
    assert scale > 1e-6, "everything is 0: the comparison says nothing"
    differences = []
    for first, second in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert first.shape == second.shape
        differences.append(np.abs(np.asarray(first) - np.asarray(second)).max(initial=0))
    return max(differences) / scale


def check(apply_fn, variables, x, *, removes, other_batch=None, gradients=False):
    """Compares the masked original with the sliced network, and returns the plan.

    `removes` is the least fraction of the entries of all leaves that must go.
    """
    network = trace(apply_fn, variables, x)
    plan = network.plan(random_keep(network))
    sliced, forward = plan.slice(variables), plan.apply_fn
    made = plan.masks(variables)
    before, after = (sum(leaf.size for leaf in jax.tree.leaves(t)) for t in (variables, sliced))
    assert after <= (1 - removes) * before, (before, after)

    def run(variables, sliced, x):
        return forward(sliced, x), apply_fn(masks.apply(variables, made), x)

    ours, theirs = compiled(run)(variables, sliced, x)
    assert distance(ours, theirs) <= 1e-5
    if other_batch is not None:
        assert distance(*compiled(run)(variables, sliced, other_batch)) <= 1e-5
    if gradients:
        weights = jnp.cos(jnp.arange(theirs.size, dtype=jnp.float32)).reshape(theirs.shape)

        def slopes(variables, sliced):
            masked = masks.apply(variables, made)
            return tuple(
                jax.grad(lambda tree, function=function: jnp.vdot(weights, function(tree, x)))(tree)
                for function, tree in ((forward, sliced), (apply_fn, masked))
            )

        ours, theirs = compiled(slopes)(variables, sliced)
        assert distance(ours, plan.slice(theirs)) <= 1e-5
    return plan
