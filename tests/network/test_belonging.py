"""Every optimiser of optax and optax.contrib: its state is sliced right, or refused by name.

Right means: with the sliced state and the sliced parameters the next update is the slice of the
masked network's, and so is the state behind it.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from prunejax import masks
from prunejax.network import trace
from tests.support.slicing_checks import compiled

ARGUMENTS = {
    "learning_rate": 0.1,
    "step_size": 0.5,
    "step_size_fn": optax.constant_schedule(0.1),
    "clipping": 0.1,
    "threshold": 0.1,
    "max_delta": 0.1,
    "max_norm": 1.0,
    "decay": 0.9,
    "eta": 0.0,
    "gamma": 0.5,
    "inner": optax.adam(0.1),
    "tx": optax.adam(0.1),
    "optimizer": optax.adam(0.1),
    "base_optimizer": optax.adam(0.1),
    "adv_optimizer": optax.sgd(0.1),
    "fast_optimizer": optax.adam(0.1),
    "sync_period": 2,
    "slow_step_size": 0.5,
    "inner_factory": optax.adam,
    "mask": {"a": True, "b": False, "c": True},
    "freeze_mask": {"a": True, "b": False, "c": False},
    "transforms": {"x": optax.adam(0.1), "y": optax.sgd(0.1, momentum=0.9)},
    "param_labels": {"a": "x", "b": "y", "c": "x"},
    "max_consecutive_errors": 3,
    "max_linesearch_steps": 3,
    "max_backtracking_steps": 3,
    "should_transform_fn": lambda step, **_: step > 1,
    "f": lambda updates, params=None: updates,
    "seed": 0,
    "l2_norm_clip": 1.0,
    "noise_multiplier": 0.0,
    "measure": lambda updates, **_: updates,
    "measure_name": "norm",
}
"""What constructors are given that must be given something."""

SPECIAL = {
    "add_noise": lambda: optax.add_noise(0.0, 0.5, key=jax.random.key(0)),
    "noisy_sgd": lambda: optax.noisy_sgd(0.1, eta=0.0, key=jax.random.key(0)),
    "differentially_private_aggregate": lambda: optax.contrib.differentially_private_aggregate(
        1.0, 0.0, key=jax.random.key(0)
    ),
    "chain": lambda: optax.chain(optax.clip(1.0), optax.adam(0.1)),
    "named_chain": lambda: optax.named_chain(("one", optax.adam(0.1)), ("two", optax.scale(0.5))),
    "freeze": lambda: optax.freeze({"a": True, "b": False, "c": False}),
    "inject_hyperparams": lambda: optax.inject_hyperparams(optax.adam)(0.1),
    "inject_stateful_hyperparams": lambda: optax.inject_stateful_hyperparams(optax.adam)(0.1),
    "sam": lambda: optax.contrib.sam(optax.adam(0.1), optax.sgd(0.05), opaque_mode=False),
    "stateless": lambda: optax.stateless(lambda updates, params: updates),
    "stateless_with_tree_map": lambda: optax.stateless_with_tree_map(lambda g, p: 0.5 * g),
    "adafactor[plain]": lambda: optax.adafactor(
        0.1, multiply_by_parameter_scale=False, clipping_threshold=None
    ),
    "adam[nesterov]": lambda: optax.adam(0.1, nesterov=True),
    "multi_steps": lambda: optax.MultiSteps(optax.adam(0.1), 2).gradient_transformation(),
    "sgd[momentum]": lambda: optax.sgd(0.1, momentum=0.9),
    "sm3[chained]": lambda: optax.chain(optax.clip(1.0), optax.sm3(0.1)),
}

REFUSED = {
    "flatten": "a vector of 45 numbers, as many as",
    "galore": "cannot slice",
    "scale_by_galore": "cannot slice",
}
"""What is refused, and how."""

BY_COUNT = {
    "adafactor": "the root of the mean square of a parameter's entries",
    "clip_by_block_rms": "the same",
    "scale_by_param_block_rms": "the same",
    "scale_by_stddev": "the variance of the gradient's entries is over the mean of all",
    "muon": "a scale by a kernel's rows and columns",
    "centralize": "the mean over a kernel's entries",
    "normalize": "the same",
}
"""Optimisers whose next update counts entries: it differs, the state sliced rightly or not."""

NO_UPDATE = {
    "dpsgd": "takes gradients of each example",
    "differentially_private_aggregate": "the same",
    "scale_by_backtracking_linesearch": "takes a loss",
    "scale_by_zoom_linesearch": "the same",
    "polyak_sgd": "the same",
    "scale_by_polyak": "the same",
    "momo": "the same",
    "momo_adam": "the same",
    "reduce_on_plateau": "the same",
    "lbfgs": "the same",
    "sophia": "the same",
    "lookahead": "takes pairs of parameters",
    "scale_by_muon": "takes kernels only",
}
"""Optimisers whose `update` takes more than gradients, and what."""


def constructors():
    found = dict.fromkeys(SPECIAL)
    for module in (optax, optax.contrib):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("_"):
                continue
            if "GradientTransformation" in str(inspect.signature(function).return_annotation):
                found.setdefault(name, function)
    return found


CONSTRUCTORS = constructors()


def built(name):
    if name in SPECIAL:
        return SPECIAL[name]()
    parameters = inspect.signature(CONSTRUCTORS[name]).parameters.values()
    required = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    return CONSTRUCTORS[name](**{argument: ARGUMENTS[argument] for argument in required})


def forward(v, x):
    return jax.nn.relu(x @ v["a"] + v["c"]) @ v["b"]


@pytest.fixture(scope="module")
def subject():
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = {"a": (3, 5), "b": (5, 5), "c": (5,)}
    params = {
        name: jax.random.normal(key, shape)
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    network = trace(forward, params, jnp.ones((2, 3)))
    plan = network.plan({"a": np.array([True, False, True, True, False])})
    return plan, masks.apply(params, plan.masks(params)), plan.masks(params)


def gradients(masked, made, step):
    """Of any numbers; those of removed entries are 0."""
    random = np.random.default_rng(step)
    grads = jax.tree.map(
        lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), masked
    )
    return masks.apply(grads, made)


def close(ours, theirs):
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        if not jnp.issubdtype(jnp.asarray(other).dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-6)


def test_there_are_many():
    assert len(CONSTRUCTORS) > 90
    assert set(REFUSED) | set(BY_COUNT) | set(NO_UPDATE) <= set(CONSTRUCTORS)


@pytest.mark.parametrize(
    "name",
    [
        # an alias shows what its parts do
        pytest.param(name, marks=pytest.mark.slow if name.startswith("scale_by_") else ())
        for name in CONSTRUCTORS
    ],
)
def test_states_have_the_shapes_of_a_smaller_networks_or_are_refused(name, subject):
    plan, masked, _ = subject
    tx = built(name)
    with jax.numpy_dtype_promotion("standard"):
        state = jax.eval_shape(tx.init, masked)
        if name in REFUSED:
            with pytest.raises(ValueError, match=REFUSED[name]):
                plan.slice(state)
            return
        small = plan.slice(state) if _belongs(state) else state
        assert _shapes(small) == _shapes(jax.eval_shape(tx.init, plan.slice(masked)))


FAST = ("adamw", "sm3", "sm3[chained]", "lamb", "adafactor[plain]", "multi_steps", "masked")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FAST else pytest.mark.slow)
        for name in CONSTRUCTORS
        if name not in (*REFUSED, *NO_UPDATE, *BY_COUNT)
    ],
)
def test_the_next_update_is_the_masked_networks(name, subject):
    plan, masked, made = subject
    with jax.numpy_dtype_promotion("standard"):
        tx = optax.with_extra_args_support(built(name))
        update = compiled(tx.update)
        state, params = tx.init(masked), masked
        for step in range(2):
            updates, state = update(gradients(masked, made, step), state, params)
            params = masks.apply(optax.apply_updates(params, updates), made)
        grads = gradients(masked, made, 9)
        theirs, behind = update(grads, state, params)
        small = plan.slice(state) if _belongs(state) else state
        ours, ahead = compiled(tx.update)(plan.slice(grads), small, plan.slice(params))
    close(ours, plan.slice(theirs))
    close(ahead, plan.slice(behind) if _belongs(behind) else behind)


def _belongs(state):
    """Whether a state holds anything of a parameter; plans refuse trees that do not."""
    ends = {"a", "b", "c"}
    paths = [masks.name(path) for path, _ in jax.tree_util.tree_leaves_with_path(state)]
    return any(ends.intersection(path.split("/")) for path in paths) or any(
        jnp.size(leaf) == 45 for leaf in jax.tree.leaves(state)
    )


def _shapes(tree):
    return [
        (masks.name(path), jnp.shape(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


@pytest.mark.slow
def test_the_history_of_lbfgs_goes_on(subject):
    plan, masked, made = subject
    tx = optax.scale_by_lbfgs(memory_size=3)
    update = compiled(tx.update)
    state, params = tx.init(masked), masked
    for step in range(4):
        updates, state = update(gradients(masked, made, step), state, params)
        params = optax.apply_updates(params, jax.tree.map(lambda u: -0.05 * u, updates))
    small = plan.slice(state)
    assert small.diff_params_memory["a"].shape == (3, 3, 3)
    grads = gradients(masked, made, 9)
    ours, _ = compiled(tx.update)(plan.slice(grads), small, plan.slice(params))
    close(ours, plan.slice(update(grads, state, params)[0]))


def test_means_over_rows_and_columns_are_refused(subject):
    plan, masked, _ = subject
    with pytest.raises(ValueError, match=r"cannot slice '0/v_row/a': Adafactor holds means.* anew"):
        plan.slice(optax.adafactor(0.1, min_dim_size_to_factor=2).init(masked))


def test_states_of_parameters_in_a_list():
    leaves = [jnp.ones((3, 5)), jnp.ones((5,)), jnp.ones((5, 4))]

    def run(v, x):
        return jax.nn.relu(x @ v[0] + v[1]) @ v[2]

    network = trace(run, leaves, jnp.ones((2, 3)))
    plan = network.plan({name: np.arange(5) < 2 for name in network.groups})
    for tx in (optax.adamw(0.1), optax.sm3(0.1), optax.lbfgs(), optax.chain(optax.sm3(0.1))):
        small, wanted = (jax.eval_shape(tx.init, v) for v in (leaves, plan.slice(leaves)))
        assert _shapes(plan.slice(small)) == _shapes(wanted)
