"""A step in bfloat16: it is what layers compute in; all that is kept, and the loss, are float32.

The compiled kernels of a sparse MLP's hidden layers sum in float32 and put out bfloat16.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import training
from prunejax.models import MODELS, build
from tests.support.small_zoo import SMALL, each

SPARSE = {"sparse_mlp": ({"hidden_widths": (9, 8), "sparsity": (0.7, 0.4)}, (8, 8, 1))}


def small(name):
    overrides, image = {**SMALL, **SPARSE}[name]
    return build(name, num_classes=4, dtype=jnp.bfloat16, **overrides), image


def products(jaxpr):
    """The types that convolutions and dense layers of a program put out, also inside its calls."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            yield equation.outvars[0].aval.dtype
        for inner in jax.core.jaxprs_in_params(equation.params):
            yield from products(inner)


def dtypes(tree):
    """Of the floating-point leaves."""
    leaves = jax.tree.leaves(tree)
    return {leaf.dtype for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)}


@pytest.mark.parametrize("name", each(MODELS))
def test_a_step_computes_in_bfloat16_and_keeps_float32(name):
    model, image = small(name)
    rng = np.random.default_rng(0)
    batch = (rng.normal(size=(4, *image)).astype(np.float32), np.arange(4))
    tx = training.masked(training.optimizer("sgd", 0.01, momentum=0.9, weight_decay=1e-4))
    params, stats = training.init_variables(model, jax.random.key(0), batch[0])
    step = training.make_train_step(model, tx)
    state = training.init_state(params, stats, tx, key=jax.random.key(1))
    before = jax.device_get(params)
    traced = jax.make_jaxpr(step.body)(state, batch)
    assert set(products(traced.jaxpr)) == {jnp.dtype(jnp.bfloat16)}
    state = step(state, batch)
    kept = (state.params, state.batch_stats, state.opt_state, state.metrics)
    assert dtypes(kept) == {jnp.dtype(jnp.float32)}
    changed = jax.tree.map(lambda new, old: np.any(new != old), state.params, before)
    assert any(jax.tree.leaves(changed))
    assert np.isfinite(state.metrics.loss)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    assert jax.eval_shape(model.apply, variables, batch[0]).dtype == jnp.float32
