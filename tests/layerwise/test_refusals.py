"""What cannot be done is said in one line."""

import jax.numpy as jnp
import numpy as np
import pytest

from prunejax import layerwise
from prunejax.network import trace

pytestmark = [
    pytest.mark.filterwarnings("ignore:no channel of this network"),
    pytest.mark.usefixtures("without_type_checks"),
]

PARAMS = {"w": jnp.ones((8, 6)), "last": jnp.ones((6, 3)), "b": jnp.zeros(3)}
X = jnp.ones((5, 8))


def forward(params, x):
    return jnp.tanh(x @ params["w"]) @ params["last"] + params["b"]


def network():
    return trace(forward, PARAMS, X)


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "say how much to prune: sparsity=0.5, or pattern='2:4'"),
        ({"sparsity": 1.0}, r"in \[0, 1\), got 1.0"),
        ({"sparsity": -0.1}, r"in \[0, 1\), got -0.1"),
        ({"sparsity": float("nan")}, r"in \[0, 1\), got nan"),
        ({"sparsity": 0.99}, "leaves none of the 48 weights of 'w'"),
        ({"sparsity": 0.6, "pattern": "2:4"}, "2:4 is a sparsity of 0.5, got 0.6: leave one out"),
        ({"pattern": "per_output"}, "SparseGPT prunes single weights"),
        ({"pattern": "2x2"}, "SparseGPT prunes single weights"),
        ({"pattern": "two"}, "unknown pattern 'two'"),
        ({"pattern": "2:4"}, "'last' has 6 inputs in a row, which 2:4 cannot divide"),
        ({"pattern": "1:3", "block": 4}, "block must be a multiple of 3"),
        ({"sparsity": 0.5, "block": 0}, "block is a number of inputs, at least 1, got 0"),
        ({"sparsity": 0.5, "block": 2.5}, "block is a number of inputs"),
        ({"sparsity": 0.5, "dampening": -1}, r"dampening is a fraction of the diagonal, in \[0, 1"),
    ],
)
def test_sparsegpt_refuses(given, message):
    with pytest.raises(ValueError, match=message):
        layerwise.sparsegpt(network(), PARAMS, [X], **given)


def call_wanda(*given, **more):
    return layerwise.wanda(*given, **more)


def call_sparsegpt(*given, **more):
    return layerwise.sparsegpt(*given, sparsity=0.5, **more)


def call_in_one_pass(*given, **more):
    return layerwise.sparsegpt(*given, sparsity=0.5, sequential=False, **more)


@pytest.mark.parametrize("call", [call_wanda, call_sparsegpt, call_in_one_pass])
def test_all_refuse(call):
    made = network()
    with pytest.raises(ValueError, match="there are no batches"):
        call(made, PARAMS, [])
    with pytest.raises(ValueError, match=r"got one array of shape \(5, 8\): put it in a list"):
        call(made, PARAMS, X)
    with pytest.raises(ValueError, match="cannot be traced with these variables and this input"):
        call(made, PARAMS, [X[:, :7]])
    with pytest.raises(ValueError, match="batch 2 is a "):
        call(made, PARAMS, [X, {"x": X}])
    with pytest.raises(ValueError, match="no sample reaches 'w': the batches are empty"):
        call(made, PARAMS, [X[:0]])
    with pytest.raises(ValueError, match="what 'w' takes in is not finite"):
        call(made, PARAMS, [X.at[2, 3].set(jnp.nan)])
    with pytest.raises(ValueError, match="these are not the variables of the network: w"):
        call(made, {**PARAMS, "w": jnp.ones((8, 7))}, [X])
    masks = {"w": jnp.ones((8, 6), bool), "last": None, "b": None}
    with pytest.raises(ValueError, match=r"the mask of 'w' has shape \(8, 5\)"):
        call(made, PARAMS, [X], masks={**masks, "w": jnp.ones((8, 5), bool)})
    with pytest.raises(ValueError, match="no parameter of that path"):
        call(made, PARAMS, [X], masks={"v": jnp.ones((8, 6), bool)})
    with pytest.raises(ValueError, match="do not cover 'b': no product with activations reads it"):
        call(made, PARAMS, [X], masks={**masks, "b": jnp.ones(3, bool)})


def test_weights_that_are_not_finite():
    params = {**PARAMS, "last": PARAMS["last"].at[0, 0].set(jnp.inf)}
    with pytest.raises(ValueError, match="a weight of 'last' is not finite"):
        layerwise.sparsegpt(network(), params, [X], 0.5)


def test_a_network_without_kernels():
    params = {"table": jnp.ones((4, 3))}
    x = np.zeros(2, np.int32)
    bare = trace(lambda params, x: params["table"][x], params, x)
    message = "no layer of this network multiplies activations by a kernel .table: it is read by g"
    with pytest.raises(ValueError, match=message):
        layerwise.wanda(bare, params, [x])
