"""An update of the topology: what must hold for every rule, on links and on masks."""

import math

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunejax import ranks, rewiring
from prunejax.rewiring import REGROWTH, REMOVAL, Regrowth, State, sweeping
from prunejax.rewiring.sweeping import Link
from prunejax.sparse import Links
from tests.support import sparse_networks
from tests.support.sparse_networks import chain_of, dense, masks, network, outputs

WIDTHS = (9, 8, 7, 6)
RULES = [  # those by paths differ in their scores alone
    pytest.param(name, marks=pytest.mark.slow if name in ("ch2_l3", "ch1_l3", "ra_l3") else ())
    for name in REGROWTH
]


def gradients_of(state, seed=5):
    rng = np.random.default_rng(seed)
    tree = {
        name: {"bias": None, "kernel": jnp.asarray(rng.normal(size=mask.shape), jnp.float32)}
        for name, mask in masks(state).items()
    }
    return {**tree, "classifier": {"kernel": None}}


def evolved(state, regrowth="random", seed=0, **options):
    if regrowth == "gradient":
        options["gradients"] = gradients_of(state)
    return rewiring.evolve(jax.random.key(seed), state, regrowth=regrowth, **options)


@pytest.mark.parametrize("as_links", [True, False], ids=["links", "masks"])
@pytest.mark.parametrize("regrowth", RULES)
def test_links_stay_exact_and_what_belongs_to_them_follows(regrowth, as_links):
    state = network(0, WIDTHS, 0.3, as_links=as_links, slots=2)
    new, info = evolved(state, regrowth)
    before, after = masks(state), masks(new)
    old_kernels, kernels = dense(state), dense(new)
    slots = [dense(new, slot) for slot in new.opt_state]
    for name in before:
        path, links = f"{name}/kernel", int(before[name].sum())
        count = int(0.3 * links)
        assert after[name].sum() == links
        assert int(info.removed[path]) == count
        smallest = np.sort(np.abs(old_kernels[name][before[name]]))[:count]
        went = before[name] & (np.abs(old_kernels[name]) <= smallest[-1])
        assert went.sum() == count
        stayed, grown = before[name] & ~went, after[name] & ~(before[name] & ~went)
        assert (after[name] & stayed).sum() == links - count
        assert int(info.regrown[path]) == (grown & went).sum()
        np.testing.assert_array_equal(kernels[name][stayed], old_kernels[name][stayed])
        assert not kernels[name][~after[name]].any()
        assert (kernels[name][grown] != old_kernels[name][grown]).all()
        for number, slot in enumerate(slots, start=1):
            np.testing.assert_array_equal(slot[name][stayed], number * old_kernels[name][stayed])
            assert not slot[name][~stayed].any()


@pytest.mark.parametrize("removal", REMOVAL)
@given(
    seed=st.integers(0, 99),
    zeta=st.floats(0.05, 0.95),
    as_links=st.booleans(),
)
@settings(max_examples=15)
def test_every_removal_keeps_the_number_of_links(removal, seed, zeta, as_links):
    state = network(seed, (6, 5, 4), 0.4, as_links=as_links)
    new, info = evolved(state, seed=seed, removal=removal, zeta=zeta, chain=chain_of(state))
    before, after = masks(state), masks(new)
    for name in before:
        path = f"{name}/kernel"
        went = int(info.removed[path]) + int(info.swept[path])
        assert after[name].sum() == before[name].sum()
        assert int(info.removed[path]) == math.floor(zeta * before[name].sum() * (1 + 2e-7))
        assert 0 <= int(info.regrown[path]) <= went
        assert (before[name] & ~after[name]).sum() == went - int(info.regrown[path])


def test_links_and_masks_are_rewired_alike():
    as_links = network(3, WIDTHS, 0.25, as_links=True)
    as_masks = network(3, WIDTHS, 0.25, as_links=False)
    by_paths = Regrowth(from_links=lambda links, kept: untied(links, kept))
    for options in ({"regrowth": by_paths}, {"regrowth": "gradient"}):
        options |= {"initial": "zero", "chain": chain_of(as_links)}
        options["gradients"] = gradients_of(as_links)
        first, _ = rewiring.evolve(jax.random.key(0), as_links, **options)
        second, _ = rewiring.evolve(jax.random.key(0), as_masks, **options)
        for name, mask in masks(first).items():
            np.testing.assert_array_equal(mask, masks(second)[name])
            np.testing.assert_array_equal(dense(first)[name], dense(second)[name])


def untied(links, kept):
    counted = REGROWTH["path_count"].from_links(links, kept)
    position = jnp.arange(counted.size, dtype=jnp.float32).reshape(counted.shape)
    return counted + position / (2 * counted.size)


@pytest.mark.parametrize("as_links", [True, False], ids=["links", "masks"])
@given(seed=st.integers(0, 999))
@settings(max_examples=15)
def test_only_links_between_inputs_and_outputs_are_left(as_links, seed):
    state = network(seed, WIDTHS, 0.15, as_links=as_links)
    chain = [
        Link(f"{name}/kernel", sparse_networks.layers(state)[f"{name}/kernel"], None, None)
        for name in masks(state)
    ]
    chain = [
        each._replace(
            weights=state.params[each.name.split("/")[0]]["kernel"].ravel(),
            bias=state.params[each.name.split("/")[0]]["bias"],
        )
        for each in chain
    ]
    kept = {
        each.name: jnp.ones(len(each.topology), bool)
        if isinstance(each.topology, Links)
        else each.topology.ravel()
        for each in chain
    }
    swept = sweeping.sweep(chain, kept, jax.nn.relu)
    graph = nx.DiGraph()
    for level, mask in enumerate(masks(state).values()):
        graph.add_nodes_from((level, int(i)) for i in range(mask.shape[0]))
        graph.add_edges_from(((level, int(i)), (level + 1, int(j))) for i, j in np.argwhere(mask))
    first = {(0, i) for i in range(WIDTHS[0])}
    last = {(len(WIDTHS) - 1, i) for i in range(WIDTHS[-1])}
    fed = set().union(*(nx.descendants(graph, each) | {each} for each in first))
    read = {node for node in graph if node in last or (nx.descendants(graph, node) & last)}
    for level, (name, mask) in enumerate(masks(state).items()):
        expected = np.zeros_like(mask)
        for i, j in np.argwhere(mask):
            expected[i, j] = (level, i) in fed and (level + 1, j) in read
        left = np.zeros_like(mask)
        topology = sparse_networks.layers(state)[f"{name}/kernel"]
        found = np.asarray(swept.kept[f"{name}/kernel"])
        if isinstance(topology, Links):
            sources, targets = np.asarray(topology.sources), np.asarray(topology.targets)
            left[sources[found], targets[found]] = True
        else:
            left = found.reshape(mask.shape)
        np.testing.assert_array_equal(left, expected)


@pytest.mark.parametrize("as_links", [True, False], ids=["links", "masks"])
@given(seed=st.integers(0, 999))
@settings(max_examples=15)
def test_merged_constants_leave_the_outputs_as_they_were(as_links, seed):
    state = network(seed, WIDTHS, 0.15, as_links=as_links)
    inputs = np.random.default_rng(seed).normal(size=(5, WIDTHS[0])).astype(np.float32)
    options = {"initial": "zero", "zeta": 0.4, "seed": seed}
    without, _ = evolved(state, **options)
    swept, _ = evolved(state, chain=chain_of(state), **options)
    np.testing.assert_allclose(outputs(swept, inputs), outputs(without, inputs), atol=1e-5)


def test_a_constant_is_merged_by_hand():
    """Inputs 0, 1; neurons a (fed by 0), b (fed by nothing), c (fed by 1, read by none)."""
    first = Links.from_mask(jnp.asarray([[True, False, False], [False, False, True]]))
    second = Links.from_mask(jnp.asarray([[True, False], [True, True], [False, False]]))
    chain = [
        Link("one", first, jnp.asarray([2.0, 3.0]), jnp.asarray([0.5, 4.0, 6.0])),
        Link("two", second, jnp.asarray([7.0, 10.0, 11.0]), jnp.asarray([1.0, 2.0])),
    ]
    kept = {"one": jnp.ones(2, bool), "two": jnp.ones(3, bool)}
    swept = sweeping.sweep(chain, kept, jax.nn.relu)
    assert swept.kept["one"].tolist() == [True, False]  # the link into c leads nowhere
    assert swept.kept["two"].tolist() == [True, False, False]  # those out of b are constants
    assert swept.biases["two"].tolist() == [1 + 10 * 4, 2 + 11 * 4]
    assert swept.biases["one"].tolist() == [0.5, 0, 0]


@pytest.mark.parametrize("as_links", [True, False], ids=["links", "masks"])
def test_random_growth_is_uniform(as_links):
    state = network(2, (5, 4), 0.4, as_links=as_links)  # 8 links of 20, of which 2 go
    keys = jax.random.split(jax.random.key(0), 3000)
    topology = jax.vmap(lambda key: rewiring.evolve(key, state)[0].topology)(keys)
    held = topology["layer1"]["kernel"]
    every = jax.vmap(Links.to_mask)(held) if as_links else held
    stayed = np.asarray(every).all(axis=0)
    assert stayed.sum() == 6
    share = np.asarray(every).mean(axis=0)[~stayed]
    np.testing.assert_allclose(share, 2 / 14, atol=5 * np.sqrt(2 / 14 / 3000))


@pytest.mark.parametrize("as_links", [True, False], ids=["links", "masks"])
@pytest.mark.parametrize("value", [0.0, 1.0, float("nan")])
def test_equal_scores_are_drawn_from_at_random(as_links, value):
    state = network(2, (5, 4), 0.4, as_links=as_links)
    same = Regrowth(from_links=lambda links, kept: jnp.full(links.shape, value))
    seen = [masks(evolved(state, same, seed=seed)[0])["layer1"] for seed in range(20)]
    assert all(mask.sum() == 8 for mask in seen)
    assert len({mask.tobytes() for mask in seen}) > 10


def test_where_scores_run_out_the_best_still_come_first():
    state = network(2, (5, 4), 0.4, as_links=True)
    free = np.argwhere(~masks(state)["layer1"])[3]

    def one(links, kept):
        return jnp.zeros(links.shape).at[free[0], free[1]].set(1)

    for seed in range(5):
        mask = masks(evolved(state, Regrowth(from_links=one), seed=seed)[0])["layer1"]
        assert mask[free[0], free[1]]
        assert mask.sum() == 8


def test_a_high_temperature_grows_elsewhere_a_low_one_does_not():
    state = network(0, (12, 12), 0.3, as_links=True)

    def untied(links, kept):
        return 1 + jnp.arange(links.shape[0] * links.shape[1], dtype=jnp.float32).reshape(
            links.shape
        )

    rule = Regrowth(from_links=untied)
    best = masks(evolved(state, rule)[0])["layer1"]
    cold = masks(evolved(state, rule, temperature=1e-6)[0])["layer1"]
    warm = masks(evolved(state, rule, temperature=10.0)[0])["layer1"]
    np.testing.assert_array_equal(cold, best)
    assert (warm != best).any()
    assert warm.sum() == best.sum()


def test_links_are_drawn_in_proportion_to_their_scores():
    """One link grows; one place scores 3, one 1, all others 0."""
    state = network(2, (5, 4), 0.4, as_links=False)
    free = np.argwhere(~masks(state)["layer1"])[:2]

    def two(links, kept):
        scores = jnp.zeros(links.shape).at[free[0][0], free[0][1]].set(3)
        return scores.at[free[1][0], free[1][1]].set(1)

    rule = Regrowth(from_links=two)
    size = int(masks(state)["layer1"].sum())
    for temperature, ratio in ((1.0, 3), (0.5, 9)):
        first = second = 0
        for seed in range(150):
            new, _ = evolved(state, rule, seed=seed, zeta=1.5 / size, temperature=temperature)
            mask = masks(new)["layer1"]
            first, second = first + mask[tuple(free[0])], second + mask[tuple(free[1])]
        assert first + second == 150
        share = ratio / (1 + ratio)
        assert first / 150 == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 150))


def test_new_weights_are_kaimings():
    state = network(0, (100, 100), 0.2, as_links=True)
    for fan_in, variance in (("inputs", 2 / 100), ("links", 2 / 20)):
        new, _ = evolved(state, zeta=0.9, fan_in=fan_in)
        grown = ~masks(state)["layer1"] & masks(new)["layer1"]
        assert grown.sum() > 1000
        weights = dense(new)["layer1"][grown]
        assert np.var(weights) == pytest.approx(variance, rel=0.2)
        assert abs(weights.mean()) < 4 * np.sqrt(variance / grown.sum())
    zero, _ = evolved(state, initial="zero")
    assert not dense(zero)["layer1"][masks(zero)["layer1"] & ~masks(state)["layer1"]].any()


def test_by_sign_takes_the_same_share_of_each():
    weights = jnp.asarray([-0.1, -0.2, -0.3, -0.4, 1, 2, 3, 4, 5, 6, 7, 8], jnp.float32)
    stays = REMOVAL["by_sign"](jax.random.key(0), weights, jnp.ones(12, bool), jnp.int32(3))
    assert stays.tolist() == [False, True, True, True, False, False] + 6 * [True]
    stays = REMOVAL["by_sign"](jax.random.key(0), -weights, jnp.ones(12, bool), jnp.int32(11))
    assert int(stays.sum()) == 1


def test_soft_removal_keeps_in_proportion_to_magnitude():
    weights = jnp.asarray([0.0, 1.0, 2.0, -3.0], jnp.float32)
    keys = jax.random.split(jax.random.key(0), 6000)
    stays = jax.vmap(lambda key: REMOVAL["soft"](key, weights, jnp.ones(4, bool), jnp.int32(3)))(
        keys
    )
    assert (np.asarray(stays).sum(axis=1) == 1).all()
    np.testing.assert_allclose(np.mean(stays, axis=0), [0, 1 / 6, 2 / 6, 3 / 6], atol=0.03)


def test_weights_of_zero_are_drawn_from():
    weights = jnp.zeros(10).at[8:].set(1)
    gone = set()
    for seed in range(10):
        stays = REMOVAL["soft"](jax.random.key(seed), weights, jnp.ones(10, bool), jnp.int32(3))
        assert stays[8:].all()
        gone.add(tuple(np.flatnonzero(~np.asarray(stays))))
    assert len(gone) > 5


def test_a_traced_zeta_out_of_range_still_leaves_the_number_of_links():
    state = network(0, (6, 5), 0.3, as_links=False)
    update = jax.jit(lambda zeta: rewiring.evolve(jax.random.key(0), state, zeta=zeta))
    for zeta, removed in ((1.5, 9), (-1.0, 0), (float("nan"), 0), (0.29, 2)):
        new, info = update(zeta)
        assert masks(new)["layer1"].sum() == 9
        assert int(info.removed["layer1/kernel"]) == removed


@pytest.mark.parametrize("links", [100, 300, 900, 2900])
def test_shares_of_links_are_those_of_decimal_numbers(links):
    for percent in range(1, 100):
        count = ranks.share_of(jnp.float32(percent / 100), jnp.int32(links))
        assert int(count) == percent * links // 100


def test_constants_of_neurons_without_a_bias_are_merged_too():
    state = network(4, (5, 8, 4), 0.2, as_links=True)
    without = {"kernel": state.params["layer1"]["kernel"]}
    state = State(
        {**state.params, "layer1": without},
        {**state.topology, "layer1": {"kernel": state.topology["layer1"]["kernel"]}},
    )
    inputs = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    options = {"initial": "zero", "zeta": 0.4}

    def put_out(state):
        kernels, hidden = dense(state), inputs
        for name in sorted(kernels):
            bias = state.params[name].get("bias", jnp.zeros(kernels[name].shape[1]))
            hidden = np.asarray(jax.nn.sigmoid(hidden @ kernels[name] + bias))
        return hidden

    plain, _ = evolved(state, **options)
    swept, info = evolved(state, chain=chain_of(state), activation=jax.nn.sigmoid, **options)
    assert int(info.swept["layer2/kernel"]) > 0
    np.testing.assert_allclose(put_out(swept), put_out(plain), atol=1e-5)
    bare = {name: {"kernel": leaves["kernel"]} for name, leaves in state.params.items()}
    with pytest.raises(ValueError, match="'layer2/kernel' has no bias that the constants of"):
        evolved(
            state._replace(params=bare), chain=chain_of(state), activation=jax.nn.sigmoid, **options
        )


def test_slots_begin_where_the_optimiser_says(optax_mixes_dtypes):
    state = network(0, (6, 5), 0.3, as_links=True)
    tx = optax.adagrad(0.1, initial_accumulator_value=0.25)
    state = state._replace(opt_state=tx.init(state.params))
    state = state._replace(opt_state=jax.tree.map(lambda leaf: leaf + 1, state.opt_state))
    new, info = evolved(state, tx=tx)
    (slots,) = [
        leaf for path, leaf in jax.tree_util.tree_leaves_with_path(new.opt_state)
        if "layer1" in str(path) and "kernel" in str(path)
    ]  # fmt: skip
    values, counts = np.unique(slots, return_counts=True)
    assert values.tolist() == [0.25, 1.25]
    assert counts[0] == int(info.removed["layer1/kernel"])


@pytest.mark.parametrize("regrowth, dtype", [("ch3_l3", jnp.bfloat16), ("gradient", jnp.float16)])
def test_half_precision(dtype, regrowth):
    state = network(0, WIDTHS, 0.3, as_links=True, slots=1)
    state = state._replace(
        params=jax.tree.map(lambda leaf: leaf.astype(dtype), state.params),
        opt_state=jax.tree.map(lambda leaf: leaf.astype(dtype), state.opt_state),
    )
    new, _ = evolved(state, regrowth, chain=chain_of(state))
    for name, mask in masks(new).items():
        assert mask.sum() == masks(state)[name].sum()
    assert {leaf.dtype for leaf in jax.tree.leaves((new.params, new.opt_state))} == {
        jnp.dtype(dtype)
    }


def test_double_precision():
    with jax.enable_x64(True):
        state = network(0, WIDTHS, 0.3, as_links=False, slots=1)
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), (state.params, state.opt_state))
        state = State(wide[0], state.topology, wide[1])
        new, _ = evolved(state, "ch2_l3", removal="soft", chain=chain_of(state))
        for name, mask in masks(new).items():
            assert mask.sum() == masks(state)[name].sum()
        leaves = jax.tree.leaves((new.params, new.opt_state))
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float64")}


def test_zeta_falls_along_a_cosine():
    assert rewiring.cosine(0.3, 0, 10) == pytest.approx(0.3)
    assert rewiring.cosine(0.3, 5, 10) == pytest.approx(0.15)
    assert rewiring.cosine(0.3, 10, 10) == pytest.approx(0, abs=1e-7)
    assert rewiring.cosine(0.3, 20, 10) == pytest.approx(0, abs=1e-7)


def test_a_layer_that_settles_is_left_alone():
    state = network(0, (6, 5), 0.3, as_links=True)  # 9 links, 2 go

    def back(links, kept):  # those that went score best
        return jnp.zeros(links.shape).at[links.sources, links.targets].set(1)

    rule = Regrowth(from_links=back)
    new, info = evolved(state, rule, settle_at=0.9)
    assert bool(info.settled["layer1/kernel"])
    again, info = evolved(new, "random", settle_at=0.9, settled=info.settled)
    assert int(info.removed["layer1/kernel"]) == 0
    np.testing.assert_array_equal(dense(again)["layer1"], dense(new)["layer1"])
    assert bool(info.settled["layer1/kernel"])
    _, info = evolved(state, "random", settle_at=0.9)
    assert not bool(info.settled["layer1/kernel"])


@pytest.mark.parametrize("make", [optax.adam, lambda rate: optax.sgd(rate, momentum=0.9)])
def test_optimisers_of_optax_go_on(make, optax_mixes_dtypes):
    tx = optax.chain(optax.clip_by_global_norm(1.0), make(0.1))
    state = network(0, (6, 5), 0.3, as_links=True)
    state = state._replace(opt_state=tx.init(state.params))
    ones = jax.tree.map(jnp.ones_like, state.params)
    updates, opt_state = tx.update(ones, state.opt_state, state.params)
    state = state._replace(params=optax.apply_updates(state.params, updates), opt_state=opt_state)
    new, info = evolved(state)
    assert jax.tree.structure(new.opt_state) == jax.tree.structure(state.opt_state)
    moments = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(new.opt_state)
        if "layer1" in str(path) and "kernel" in str(path)
    ]
    assert len(moments) == (2 if make is optax.adam else 1)
    for moment in moments:
        assert int((moment == 0).sum()) == int(info.removed["layer1/kernel"])
    tx.update(ones, new.opt_state, new.params)


def test_other_links_recompile_nothing_and_seeds_vmap():
    state = network(0, WIDTHS, 0.3, as_links=True)
    traced = []

    def step(key, state):
        traced.append(1)
        return rewiring.evolve(key, state, regrowth="ch3_l3", chain=chain_of(state))[0]

    compiled = jax.jit(step)
    new = compiled(jax.random.key(0), state)
    compiled(jax.random.key(1), new)
    assert len(traced) == 1
    stacked = jax.tree.map(lambda *each: jnp.stack(each), state, new)
    keys = jax.random.split(jax.random.key(3), 2)
    together = jax.vmap(step)(keys, stacked)
    for position, one in enumerate((state, new)):
        alone = step(keys[position], one)
        for name, mask in masks(alone).items():
            held = jax.tree.map(lambda leaf, i=position: leaf[i], together)
            np.testing.assert_array_equal(masks(held)[name], mask)
            np.testing.assert_allclose(dense(held)[name], dense(alone)[name], rtol=1e-6)


def test_convolutions_are_rewired_as_masks():
    rng = np.random.default_rng(0)
    mask = rng.random((3, 3, 4, 5)) < 0.3
    params = {"conv": {"kernel": jnp.asarray(np.where(mask, 1 + rng.random(mask.shape), 0), "f4")}}
    state = State(params, {"conv": {"kernel": jnp.asarray(mask)}})
    gradient = {"conv": {"kernel": jnp.asarray(rng.normal(size=mask.shape), jnp.float32)}}
    for options in ({}, {"regrowth": "gradient", "gradients": gradient}):
        new, _ = rewiring.evolve(jax.random.key(0), state, **options)
        after = np.asarray(new.topology["conv"]["kernel"])
        assert after.sum() == mask.sum()
        assert (after != mask).any()
        assert not np.asarray(new.params["conv"]["kernel"])[~after].any()


def test_bad_input():
    state = network(0, WIDTHS, 0.3, as_links=True)
    as_masks = network(0, WIDTHS, 0.3, as_links=False)
    for zeta in (0, 1, -0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"zeta is the share.*in \(0, 1\)"):
            evolved(state, zeta=zeta)
    with pytest.raises(ValueError, match="unknown removal 'smallest'"):
        evolved(state, removal="smallest")
    with pytest.raises(ValueError, match=r"unknown regrowth 'ch3'; .*did you mean 'ch3_l3'"):
        evolved(state, "ch3")
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature must be above 0"):
            evolved(state, "ch3_l3", temperature=temperature)
    with pytest.raises(ValueError, match=r"settle_at must be above 0 and at most 1, got 5\.0"):
        evolved(state, settle_at=5.0)
    with pytest.raises(ValueError, match="settled must be of the layers"):
        evolved(state, settle_at=0.9, settled={"layer1/kernel": jnp.zeros((), bool)})
    whole = jax.tree.map(lambda leaf: leaf.astype(jnp.int32), as_masks.params)
    with pytest.raises(ValueError, match="'layer1/kernel' must be floating point, got int32"):
        evolved(as_masks._replace(params=whole))
    with pytest.raises(ValueError, match="unknown initial 'kaming'"):
        evolved(state, initial="kaming")
    with pytest.raises(ValueError, match=r"'layer1/kernel'.*no gradient"):
        rewiring.evolve(jax.random.key(0), state, regrowth="gradient")
    with pytest.raises(ValueError, match="chain names 'layer9/kernel'"):
        evolved(state, chain=("layer9/kernel",))
    with pytest.raises(ValueError, match="'layer3/kernel' has 7 inputs and cannot read"):
        evolved(state, chain=("layer1/kernel", "layer3/kernel"))
    nan = state.params["layer2"]["kernel"].at[3].set(jnp.nan)
    broken = {**state.params, "layer2": {**state.params["layer2"], "kernel": nan}}
    with pytest.raises(ValueError, match="1 weights of 'layer2/kernel' are NaN"):
        evolved(state._replace(params=broken))
    full = network(0, (6, 5), 0.95, as_links=True)
    with pytest.raises(ValueError, match="'layer1/kernel' has 28 links and 2 free pairs: 8 links"):
        evolved(full)
    empty = {**as_masks.topology, "layer1": {"bias": None, "kernel": jnp.zeros((9, 8), bool)}}
    with pytest.raises(ValueError, match="'layer1/kernel' has no link"):
        evolved(as_masks._replace(topology=empty))
    elsewhere = {"layer1": {"kernle": state.topology["layer1"]["kernel"]}}
    with pytest.raises(ValueError, match=r"links for 'layer1/kernle', .*'layer1/kernel'"):
        evolved(state._replace(topology=elsewhere))
    with pytest.raises(ValueError, match="no layer has links"):
        evolved(state._replace(topology=jax.tree.map(lambda _: None, state.params)))
    conv = State({"kernel": jnp.ones((2, 2, 3, 3))}, {"kernel": jnp.ones((2, 2, 3, 3), bool)})
    with pytest.raises(ValueError, match="two axes, but 'kernel' has shape"):
        evolved(conv, "ch3_l3")
    with pytest.raises(ValueError, match="hold the layer's links as Links"):
        jax.jit(lambda state: evolved(state, "ch3_l3")[0])(as_masks)
