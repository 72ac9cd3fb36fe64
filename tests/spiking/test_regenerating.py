"""Updates of pruning and regeneration: exact counts, and the three steps done again in NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from prunejax import masks, spiking, training
from prunejax.rewiring import State
from prunejax.spiking import GROWTH, Schedule, regenerate
from tests.spiking.conftest import made

HEAD = ("classifier/kernel",)


def named(tree):
    return {masks.name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


@functools.cache
def subject():
    _, variables, x, traced = made("mlp")
    params = variables["params"]
    scores = spiking.criticality(traced, variables, np.asarray(x))
    gradients = jax.tree.map(
        lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), params
    )
    evidence = {
        "criticality": spiking.of_weights(traced, scores, params),
        "gradients": gradients,
        None: None,
    }
    return params, masks.make(params), evidence


def moved(params, tx):
    """An optimiser's state with momenta that are not 0."""
    state = tx.init(params)
    gradients = jax.tree.map(jnp.ones_like, params)
    return tx.update(gradients, state, params)[1]


@pytest.mark.parametrize("growth", GROWTH)
@pytest.mark.parametrize("decayed", [False, True])
def test_each_update_keeps_exactly_so_many(growth, decayed, optax_mixes_dtypes):
    params, made_masks, evidence = subject()
    tx = optax.adam(1e-3)
    schedule = Schedule(0.9, 4, share=0.3, decayed=decayed)
    state = State(params, made_masks, moved(params, tx))
    total = masks.count(made_masks)
    for update in range(1, 5):
        keep, share = schedule.keep(total, update), schedule.growth(update)
        made_now = regenerate(
            jax.random.key(update),
            state,
            keep,
            growth=growth,
            share=share,
            evidence=evidence[GROWTH[growth].needs],
            head=HEAD,
            tx=tx,
        )
        state = made_now.state
        assert masks.count(state.topology) == keep
        kept_body = keep - int(state.topology["classifier"]["kernel"].sum())
        grown = sum(int(number) for number in made_now.grown.values())
        assert grown == (0 if growth == "none" else int(np.floor(share * kept_body + 1e-6)))
        assert int(made_now.grown["classifier/kernel"]) == 0
        for path, mask in named(state.topology).items():
            weight = named(state.params)[path]
            assert not np.any(np.asarray(weight)[~np.asarray(mask)])
            assert np.any(mask), "each leaf keeps its largest weight"
    assert masks.count(state.topology) == round(0.1 * total)
    assert decayed is False or grown == 0


def expected(params, made_masks, keep, share, ranks, head):
    """The steps of the specification with sorts; no two magnitudes are equal."""
    weights = {path: np.abs(np.asarray(named(params)[path])) for path in named(made_masks)}
    order = sorted(
        ((value, path, at) for path, w in weights.items() for at, value in np.ndenumerate(w)),
        reverse=True,
    )
    kept = {path: np.zeros(w.shape, bool) for path, w in weights.items()}
    for _, path, at in order[:keep]:
        if path in head:
            kept[path][at] = True
    left = keep - sum(int(kept[path].sum()) for path in head)
    grows = int(np.floor(share * left))
    body = [one for one in order if one[1] not in head]
    for _, path, at in body[: left - grows]:
        kept[path][at] = True
    free = [(ranks[path][at], path, at) for _, path, at in body[left - grows :]]
    return kept, sorted(free, reverse=True), grows


@pytest.mark.parametrize("growth", ["criticality", "gradient"])
def test_an_update_is_the_three_steps(growth):
    params, made_masks, evidence = subject()
    given = evidence[GROWTH[growth].needs]
    shapes = {path: mask.shape for path, mask in named(made_masks).items()}
    ranks = {
        path: np.abs(np.broadcast_to(np.asarray(named(given)[path]), shape))
        for path, shape in shapes.items()
        if path not in HEAD
    }
    keep, share = 80, 0.25
    kept, free, grows = expected(params, made_masks, keep, share, ranks, HEAD)
    state = regenerate(
        jax.random.key(0), State(params, made_masks), keep,
        growth=growth, share=share, evidence=given, head=HEAD,
    ).state  # fmt: skip
    found = {path: np.asarray(mask) for path, mask in named(state.topology).items()}
    weights = {path: np.asarray(leaf) for path, leaf in named(state.params).items()}
    before = {path: np.asarray(leaf) for path, leaf in named(params).items()}
    for path, mask in kept.items():
        assert np.all(found[path][mask]), "what is kept by magnitude stays"
        np.testing.assert_array_equal(weights[path][mask], before[path][mask])
    new = {path: found[path] & ~kept[path] for path in kept}
    assert sum(int(one.sum()) for one in new.values()) == grows
    assert not new["classifier/kernel"].any()
    grown = sorted((ranks[path][new[path]].tolist() for path in new if path not in HEAD), key=len)
    grown = sorted((one for of in grown for one in of), reverse=True)
    np.testing.assert_allclose(grown, [rank for rank, _, _ in free[:grows]])
    for path, one in new.items():
        assert not weights[path][one].any(), "what grows begins at 0"


def test_criticality_fills_the_most_critical_neuron_first():
    params, made_masks, _ = subject()
    scores = {"hidden1": jnp.arange(9.0), "hidden2": 100 + jnp.arange(8.0)}
    evidence = {layer: {"kernel": scores[layer][None, :], "bias": None} for layer in scores} | {
        "classifier": {"kernel": None, "bias": None}
    }
    two = [
        regenerate(
            jax.random.key(seed), State(params, made_masks), 60, share=0.2, evidence=evidence,
            head=HEAD,
        )
        for seed in (0, 1)
    ]  # fmt: skip
    kept = 60 - int(two[0].state.topology["classifier"]["kernel"].sum())
    assert int(two[0].grown["hidden2/kernel"]) == int(0.2 * kept)
    for one in two:
        columns = np.asarray(one.state.topology["hidden2"]["kernel"]).sum(axis=0)
        assert columns[-1] == 9, "the most critical neuron has all of its weights"
    first, second = (np.asarray(one.state.topology["hidden2"]["kernel"]) for one in two)
    assert np.any(first != second), "within a neuron the order is drawn"


def test_random_growth_is_uniform():
    """Each free place grows equally often: chi squared over 300 draws."""
    params, made_masks, _ = subject()
    body = ("hidden1/kernel", "hidden2/kernel")
    counts = dict.fromkeys(body, 0.0)
    for seed in range(300):
        state = regenerate(
            jax.random.key(seed), State(params, made_masks), 60, growth="random", share=0.5,
            head=HEAD,
        ).state  # fmt: skip
        for path in body:
            counts[path] = counts[path] + np.asarray(named(state.topology)[path], float)
    flat = np.concatenate([counts[path].ravel() for path in body])
    grown = flat[flat < 300]  # those kept by magnitude are always there
    expected_count = grown.mean()
    assert ((grown - expected_count) ** 2 / expected_count).sum() < 1.5 * len(grown)


def test_slots_of_what_went_or_grew_begin_anew(optax_mixes_dtypes):
    params, made_masks, evidence = subject()
    tx = optax.chain(optax.adam(1e-3), optax.trace(0.9))
    state = State(params, made_masks, moved(params, tx))
    after = regenerate(
        jax.random.key(0), state, 80, evidence=evidence["criticality"], head=HEAD, tx=tx
    ).state
    old, new = named(params), named(after.params)
    slots = 0
    for path, leaf in jax.tree.leaves_with_path(after.opt_state):
        owner = next((p for p in named(made_masks) if masks.name(path).endswith(p)), None)
        if owner is not None and leaf.shape == old[owner].shape:
            stays = np.asarray(new[owner]) == np.asarray(old[owner])
            assert stays.any()
            assert not np.asarray(leaf)[~stays].any()
            assert np.asarray(leaf)[stays].all()
            slots += 1
    assert slots == 3 * 3


def test_a_pruned_weight_is_0_after_any_step(optax_mixes_dtypes):
    params, made_masks, evidence = subject()
    model, _, x, _ = made("mlp")
    labels = jnp.arange(5) % 4
    tx = training.masked(optax.adamw(0.1, weight_decay=0.1))
    state = training.init_state(params, {}, tx, key=jax.random.key(0), masks=made_masks)
    step = training.make_train_step(model, tx)
    for update in range(1, 4):
        made_now = regenerate(
            jax.random.key(update),
            State(state.params, state.masks, state.opt_state),
            Schedule(0.8, 3).keep(masks.count(made_masks), update),
            evidence=evidence["criticality"],
            head=HEAD,
            tx=tx,
        ).state
        state = state._replace(
            params=made_now.params, masks=made_now.topology, opt_state=made_now.opt_state
        )
        for _ in range(2):
            state = step(state, (x, labels))
            for path, mask in named(state.masks).items():
                assert not np.any(np.asarray(named(state.params)[path])[~np.asarray(mask)])


def test_it_is_one_program_for_all_numbers():
    params, made_masks, evidence = subject()
    given = evidence["criticality"]

    @jax.jit
    def update(key, keep, share):
        return regenerate(
            key, State(params, made_masks), keep, share=share, evidence=given, head=HEAD
        ).state.topology

    for keep, share in ((100, 0.0), (50, 0.2), (80, 0.5)):
        found = update(jax.random.key(0), jnp.int32(keep), jnp.float32(share))
        assert masks.count(found) == keep
    assert update._cache_size() == 1


def test_the_schedule_is_cubic():
    schedule = Schedule(0.9, 10, share=0.2)
    assert [schedule.at(j) for j in (1, 5, 10)] == pytest.approx(
        [0.9 * (1 - 0.9**3), 0.9 * (1 - 0.5**3), 0.9]
    )
    assert [schedule.growth(j) for j in (1, 10)] == pytest.approx([0.18, 0.0])
    assert Schedule(0.9, 10, share=0.2, decayed=False).growth(10) == 0.2
    assert schedule.keep(1000, 10) == 100


@pytest.mark.parametrize(
    "given, said",
    [
        ({"growth": "critical"}, "unknown growth 'critical'.*did you mean 'criticality'"),
        ({"keep": 3000}, "keep must be between the number of leaves, 3, and the weights"),
        ({"keep": 2}, "keep must be between"),
        ({"share": 1.0}, r"share that grows must be in \[0, 1\), got 1.0"),
        ({"share": -0.1}, "share that grows"),
        ({"head": ("classifer/kernel",)}, "unknown leaf of the head"),
        ({"evidence": None}, "growth by criticality needs evidence for 'hidden1/kernel'"),
        ({"head": ()}, "needs evidence for 'classifier/kernel'"),
    ],
    ids=str,
)
def test_bad_updates(given, said):
    params, made_masks, evidence = subject()
    usual = {"keep": 60, "evidence": evidence["criticality"], "head": HEAD}
    with pytest.raises(ValueError, match=said):
        regenerate(jax.random.key(0), State(params, made_masks), **{**usual, **given})


def test_evidence_of_another_shape():
    params, made_masks, evidence = subject()
    wrong = {**evidence["criticality"], "hidden1": {"kernel": jnp.ones((1, 7)), "bias": None}}
    with pytest.raises(ValueError, match=r"'hidden1/kernel' has shape \(1, 7\), which"):
        regenerate(jax.random.key(0), State(params, made_masks), 60, evidence=wrong, head=HEAD)


@pytest.mark.parametrize(
    "schedule", [Schedule(1.0, 3), Schedule(-0.1, 3), Schedule(0.5, 0), Schedule(0.5, 3, 1.0)]
)
def test_bad_schedules(schedule):
    with pytest.raises(ValueError, match=r"sparsity|update|share"):
        schedule.check()


def test_a_path_that_stands_twice_in_the_head_counts_once():
    params, made_masks, evidence = subject()
    state = regenerate(
        jax.random.key(0), State(params, made_masks), 60, evidence=evidence["criticality"],
        head=HEAD * 2,
    ).state  # fmt: skip
    assert masks.count(state.topology) == 60
    with pytest.raises(ValueError, match="head takes paths of leaves"):
        regenerate(jax.random.key(0), State(params, made_masks), 60, growth="none", head=HEAD[0])


@pytest.mark.parametrize("growth", ["random", "none"])
def test_a_leaf_without_weights_left_changes_no_count(growth):
    params, made_masks, _ = subject()
    nothing = {"kernel": jnp.zeros_like(made_masks["hidden2"]["kernel"]), "bias": None}
    given = {**made_masks, "hidden2": nothing}
    for keep in (3, 10, 60):
        state = regenerate(
            jax.random.key(0), State(params, given), keep, growth=growth, share=0.9, head=HEAD
        ).state
        assert masks.count(state.topology) == keep


def test_equal_criticality_favours_no_layer():
    params, made_masks, _ = subject()
    evidence = {
        "hidden1": {"kernel": jnp.ones((1, 9)), "bias": None},
        "hidden2": {"kernel": jnp.ones((1, 8)), "bias": None},
        "classifier": {"kernel": None, "bias": None},
    }
    grown = dict.fromkeys(("hidden1/kernel", "hidden2/kernel"), 0)
    for seed in range(20):
        found = regenerate(
            jax.random.key(seed), State(params, made_masks), 120, share=0.5, evidence=evidence,
            head=HEAD,
        ).grown  # fmt: skip
        for path in grown:
            grown[path] += int(found[path])
    share = grown["hidden1/kernel"] / sum(grown.values())
    assert abs(share - 144 / (144 + 72)) < 0.08


def test_unknown_criticality_grows_last():
    params, made_masks, _ = subject()
    scores = jnp.arange(8.0).at[3].set(jnp.nan)
    evidence = {
        "hidden1": {"kernel": jnp.full((1, 9), -1.0), "bias": None},
        "hidden2": {"kernel": scores[None, :], "bias": None},
        "classifier": {"kernel": None, "bias": None},
    }
    state = regenerate(
        jax.random.key(0), State(params, made_masks), 60, share=0.9, evidence=evidence, head=HEAD
    ).state
    columns = np.asarray(state.topology["hidden2"]["kernel"]).sum(axis=0)
    assert columns[7] == 9
    assert columns[3] < 9


@pytest.mark.parametrize("update", [-1, 5])
def test_updates_that_there_are_not(update):
    with pytest.raises(ValueError, match=f"there are 4 updates, no update {update}"):
        Schedule(0.9, 4).keep(100, update)
    with pytest.raises(ValueError, match="no update"):
        Schedule(0.9, 4).growth(update)
