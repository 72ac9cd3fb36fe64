"""What the CPU computes an accelerator computes too: the same function on both, and compared.

Under pytest the accelerators must be asked for, as tests run on CPUs alone by default; without
pytest JAX finds them, and only the packages that a check itself uses need to be there (Flax,
optax, scikit-learn for its digits, and what ``prunejax[topology]`` brings):

    JAX_PLATFORMS=cuda,cpu python -m pytest tests/test_platforms.py -q -p no:cacheprovider
    python -m tests.test_platforms

Where there is none, a second CPU device takes its place for a rehearsal, see ``REHEARSAL``.

Whole numbers and truth values must be equal, floats close: both devices sum in float32, in orders
of their own, which is a relative error of 1e-6 or so for some hundreds of terms. A GPU may round
factors of float32 products to 11 bits (TF32). The library forbids that itself where it counts or
measures; a network's own products are left to the user, here by
``jax.default_matmul_precision("highest")``.

What always runs on the host: checks of arguments; tables for ``topology.local`` and its ``n2`` (a
callback); ``topology.encode`` and ``measure`` (NumPy, SciPy, Numba); ``Links.from_mask`` outside
jit; how many weights ``allocate`` keeps of each leaf; the order of examples in training; the
compiled kernels of sparse layers and of link prediction (C++), in whose place are dense products.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

REHEARSAL = {
    "PRUNEJAX_REHEARSE": "1",
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
}
"""An environment in which the second CPU device stands for a GPU."""

PLATFORMS = ("gpu", "tpu")


def find_device(platform):
    """The first device of a platform, or None."""
    if os.environ.get("PRUNEJAX_REHEARSE"):
        return jax.devices("cpu")[1] if platform == "gpu" else None
    try:
        return jax.devices(platform)[0]
    except RuntimeError:
        return None


@pytest.fixture(params=PLATFORMS)
def device(request):
    if (found := find_device(request.param)) is None:
        pytest.skip(
            f"JAX has no {request.param} here, with JAX_PLATFORMS={os.environ['JAX_PLATFORMS']}: "
            "name cuda,cpu there on a machine with a GPU"
        )
    return found


def on_both(device, function, *inputs):
    """What a function gives on the CPU and on the device, as NumPy arrays."""
    found = []
    for here in (jax.devices("cpu")[0], device):
        with jax.default_device(here):
            made = function(*jax.device_put(inputs, here))
        for leaf in jax.tree.leaves(made):
            assert leaf.devices() == {here}, f"{leaf.devices()} computed what {here} was given"
        found.append(jax.tree.map(on_host, made))
    return found


def on_host(leaf):
    if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf)


def check_alike(found, *, rtol=1e-5, atol=1e-6):
    """Floats to a tolerance, all else exactly."""
    one, other = found
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for (path, a), b in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True):
        where = jax.tree_util.keystr(path)
        assert a.dtype == b.dtype, where
        if jnp.issubdtype(a.dtype, jnp.inexact):
            np.testing.assert_allclose(b, a, rtol=rtol, atol=atol, err_msg=where)
        else:
            np.testing.assert_array_equal(b, a, err_msg=where)


def feature_maps():
    """Maps of 24 filters, three of a kind that resemble each other.

    Multiples of 1/16 from -8 to 8, so that bins of a histogram are computed without rounding.
    """
    rng = np.random.default_rng(0)
    maps = np.repeat(rng.normal(scale=2.5, size=(6, 9, 7, 8)), 3, axis=-1)
    maps = np.round(16 * (maps + rng.normal(scale=0.8, size=maps.shape))) / 16
    maps = np.clip(maps, -8, 8).astype(np.float32)
    maps[0, 0, 0], maps[0, 0, 1] = -8, 8
    return maps


def check_hashes_and_similarity(device):
    """Every bit, as no frequency is near the mean that it is compared with."""
    from prunejax import filters
    from prunejax.filters.hashing import dct_rows

    maps = feature_maps()
    block = np.einsum("kh,nhwc,lw->nklc", dct_rows(9, 8), maps.astype(np.float64), dct_rows(7, 7))
    block = block.reshape(len(maps), -1, maps.shape[-1])
    margin = np.abs(block - block.mean(axis=1, keepdims=True)).min() / np.abs(block).max()
    assert margin > 2e-6  # a sum of 63 terms in float32 is off by less

    def hashed(maps):
        return (
            filters.perceptual_hash(maps),
            filters.perceptual_hash(maps, hash="imagehash"),
            filters.agreement(maps),
            filters.similarity(maps),
            filters.constant_channels(maps),
        )

    check_alike(on_both(device, hashed, maps), rtol=0, atol=0)


def check_entropy(device):
    """Counts are equal; logarithms may differ in their last bits."""
    from prunejax import filters

    def measured(maps):
        return [filters.entropy(maps, over=over) for over in ("activations", "images", "pooled")]

    check_alike(on_both(device, measured, feature_maps()))


def check_filter_selection(device):
    """Core numbers, what is redundant, and the method from maps to filters kept."""
    from prunejax import filters

    def selected(maps):
        similarity, worth = filters.similarity(maps), filters.entropy(maps)
        features = filters.ChannelFeatures(maps=maps)
        kept = filters.select(similarity, worth, 0.7)
        return {
            "core": filters.coreness(similarity, 0.7),
            "redundancy": filters.redundancy(similarity, kept, 0.7),
            "kept": kept,
            "at_once": filters.keep(features, 0.7),
            "scores": filters.as_filter_criterion("entropy_kcore").score(features, key=None),
        }

    found = on_both(device, selected, feature_maps())
    check_alike(found)
    assert found[0]["core"].max() > 1
    assert 1 < found[0]["kept"].sum() < 24


def dense(variables, x):
    return jax.nn.relu(x @ variables["first"]["kernel"]) @ variables["last"]["kernel"]


def check_local_metrics(device):
    """Degrees of a convolutional network's graph, and of a layer with 3000 inputs.

    Without a precision set: a count above 2048 has more bits than TF32.
    """
    from prunejax import network, topology
    from prunejax.masks import make

    rng = np.random.default_rng(0)
    shapes = {"first": (3000, 3), "last": (3, 2)}
    wide = {
        name: {"kernel": rng.normal(size=shape).astype(np.float32)}
        for name, shape in shapes.items()
    }
    cases = [(dense, wide, np.zeros((1, 3000), np.float32), 0.95)]

    from tests.training.programs import MODEL

    image = np.zeros((1, 8, 8, 1), np.float32)
    variables = jax.device_get(MODEL.init(jax.random.key(0), image))
    cases.append((MODEL.apply, variables, image, 0.4))
    for apply_fn, variables, x, density in cases:
        tables = topology.tables(network.trace(apply_fn, variables, x))
        params = variables.get("params", variables)
        masks = jax.tree.map(lambda leaf: rng.random(leaf.shape) < density, make(params))  # noqa: B023

        def measured(masks, params, tables=tables):
            return topology.local(tables, masks, params, two_hops=True)

        found = on_both(device, measured, masks, params)
        check_alike(found)
        if params is wide:
            counted = masks["first"]["kernel"].sum(axis=0)
            assert counted.min() > 2048
            np.testing.assert_array_equal(found[1].in_degree[3000:3003], counted)


def check_link_prediction(device):
    """Scores of pairs that are not linked, by each rule; without a precision set."""
    from prunejax import rewiring
    from prunejax.rewiring.l3 import FORMULAS, path_scores
    from prunejax.sparse import Links

    mask = np.random.default_rng(0).random((60, 40)) < 0.15
    links = jax.device_get(Links.from_mask(mask))

    def scored(links):
        found = {rule: rewiring.scores(links, rule) for rule in FORMULAS}
        return found | {"by products": path_scores(links, rule="ch3_l3")}

    found = [jax.tree.map(lambda leaf: leaf[~mask], one) for one in on_both(device, scored, links)]
    check_alike(found)
    np.testing.assert_array_equal(found[0]["path_count"], found[1]["path_count"])
    np.testing.assert_allclose(found[1]["ch3_l3"], found[1]["by products"], rtol=1e-5)


def check_rewiring(device):
    """Which links go and grow where keys, magnitudes and whole numbers decide.

    Not by scores that are rounded ("ch3_l3"), of which two may change places. Weights of new links
    are normal numbers, whose inverse error function is a library's own on each device.
    """
    from prunejax import rewiring
    from tests.support.sparse_networks import chain_of, network

    for as_links, regrowth in ((True, "random"), (True, "path_count"), (False, "gradient")):
        state = jax.device_get(network(0, (12, 10, 9), 0.3, as_links=as_links, slots=1))
        rng = np.random.default_rng(2)
        gradients = {
            "layer1": {"bias": None, "kernel": rng.normal(size=(12, 10)).astype(np.float32)},
            "layer2": {"bias": None, "kernel": rng.normal(size=(10, 9)).astype(np.float32)},
            "classifier": {"kernel": None},
        }

        def evolved(key, state, gradients, regrowth=regrowth):
            chain = chain_of(state)
            return rewiring.evolve(key, state, regrowth=regrowth, gradients=gradients, chain=chain)

        found = on_both(device, evolved, jax.random.key(1), state, gradients)
        check_alike(found, rtol=1e-4, atol=1e-5)
        assert sum(found[0][1].removed.values()) > 0


def check_allocation(device):
    """Masks, exactly; scores are whole numbers, whose sums over blocks are exact too."""
    from prunejax import allocation

    rng = np.random.default_rng(0)
    scores = {
        "conv": {"kernel": rng.permutation(3 * 3 * 4 * 8).reshape(3, 3, 4, 8)},
        "dense": {"kernel": rng.integers(0, 50, (16, 12)), "bias": None},
    }
    scores = jax.tree.map(np.float32, scores)

    def allocated(scores):
        return [
            allocation.allocate(scores, 0.7),
            allocation.allocate(scores, 0.7, distribution="erk"),
            allocation.allocate(scores, pattern="2:4"),
            allocation.allocate(scores, 0.5, pattern="4x4", distribution="uniform"),
            allocation.allocate(scores, 0.5, pattern="per_output", distribution="uniform"),
        ]

    found = on_both(device, jax.jit(allocated), scores)
    check_alike(found)
    assert sum(leaf.sum() for leaf in jax.tree.leaves(found[0][0])) == round(0.3 * (288 + 192))


def check_criteria(device):
    """Scores of a convolutional network, relative to the largest of each leaf."""
    from prunejax import criteria, masks, training
    from tests.training.programs import MODEL, split

    digits = split(np.float32)
    batch = (digits.images[:20], digits.labels[:20])
    variables = MODEL.init(jax.random.key(0), batch[0])
    params, stats = jax.device_get((variables["params"], variables["batch_stats"]))

    def scored(params, batch):
        made = masks.make(params)
        found = {}
        for name in ("magnitude", "snip", "synflow"):
            loss_fn = training.classification_loss(MODEL, stats, train=False)  # no dropout
            found[name] = criteria.CRITERIA[name].score(
                params, made, batch, loss_fn=loss_fn, key=None
            )
        return jax.tree.map(lambda leaf: leaf / jnp.max(leaf), found)

    with jax.default_matmul_precision("highest"):
        check_alike(on_both(device, jax.jit(scored), params, batch), rtol=1e-4, atol=1e-5)


def check_sparse_layers(device):
    """Each back end's outputs and gradients; "auto" takes one that works, "native" is for CPUs."""
    from prunejax.sparse import BACKENDS, Links, choose, native, sparse_linear

    rng = np.random.default_rng(0)
    links = jax.device_get(Links.from_mask(rng.random((40, 30)) < 0.2))
    weights = rng.normal(size=len(links)).astype(np.float32)
    x = rng.normal(size=(7, 40)).astype(np.float32)
    here = jax.default_backend()
    backends = ["auto", *BACKENDS]
    if here != "cpu":
        assert choose(links) == "densify"
        with pytest.raises(native.UnavailableError, match=f"JAX computes on {here} here"):
            sparse_linear(weights, links, x, "native")
    if here != "cpu" or not native.is_available():
        backends.remove("native")

    def computed(weights, links, x):
        found = {}
        for backend in backends:

            def loss(weights, x, backend=backend):
                y = sparse_linear(weights, links, x, backend)
                return jnp.sum(jnp.sin(y)), y

            found[backend] = jax.value_and_grad(loss, (0, 1), has_aux=True)(weights, x)
        return found

    with jax.default_matmul_precision("highest"):
        found = on_both(device, jax.jit(computed), weights, links, x)
    check_alike(found, atol=1e-5)
    for backend in backends:
        check_alike((found[0]["masked"], found[1][backend]), atol=1e-5)


def check_training(device):
    """One step, epochs as one program, three networks together; dropout and crops by key.

    To 1e-3: errors of 1e-6 grow from step to step, where a ReLU or a sign changes most.
    """
    from prunejax import data, training
    from tests.training.programs import BATCH, MODEL, split, start

    tx = training.masked(training.optimizer("sgd", 0.05, momentum=0.9, weight_decay=1e-4))
    digits = split(np.float32)
    batch = (digits.images[:BATCH], digits.labels[:BATCH])
    given = {"epochs": 2, "batch_size": BATCH, "loop": "epoch"}
    cpu = jax.devices("cpu")[0]
    with jax.default_device(cpu):
        begun = [start(tx, seed, dtype=jnp.float32) for seed in range(3)]
    found = []
    for here in (cpu, device):
        with jax.default_device(here), jax.default_matmul_precision("highest"):
            placement = training.data_parallel([here])
            step = training.make_train_step(MODEL, tx, augment=data.augment, placement=placement)
            states = jax.device_put(begun, placement.state)
            first = step(training.snapshot(states[0]), jax.device_put(batch, placement.state))
            alone, history = training.fit(
                training.snapshot(states[0]), step, digits, placement=placement, **given
            )
            together = training.fit_many(states, step, digits, devices=[here], **given)
        made = (first, alone, [state for state, _ in together])
        for leaf in jax.tree.leaves(made):
            assert leaf.devices() == {here}
        losses = [row["loss"] for _, rows in [(alone, history), *together] for row in rows]
        found.append((jax.tree.map(on_host, made), np.array(losses)))
    check_alike(found, rtol=1e-3, atol=1e-3)
    check_alike((found[1][0][1], found[1][0][2][0]), rtol=1e-3, atol=1e-3)


CHECKS = [
    check_hashes_and_similarity,
    check_entropy,
    check_filter_selection,
    check_local_metrics,
    check_link_prediction,
    check_rewiring,
    check_allocation,
    check_criteria,
    check_sparse_layers,
    check_training,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_an_accelerator_computes_what_a_cpu_does(check, device):
    check(device)


def test_what_counts_or_measures_asks_for_whole_float32_products():
    """A GPU's own choice would round factors to 11 bits, a TPU's to 8."""
    from prunejax import filters, network, topology
    from prunejax.rewiring.l3 import path_scores
    from prunejax.sparse import Links

    maps = feature_maps()
    links = Links.from_mask(np.random.default_rng(0).random((9, 7)) < 0.4)
    params = {"first": {"kernel": jnp.ones((9, 7))}, "last": {"kernel": jnp.ones((7, 2))}}
    tables = topology.tables(network.trace(dense, params, np.ones((1, 9), np.float32)))
    for function, given in (
        (lambda links: path_scores(links, rule="ch3_l3"), links),
        (lambda masks: topology.local(tables, masks), jax.tree.map(lambda leaf: leaf > 0, params)),
        (filters.similarity, maps),
    ):
        text = jax.jit(function).lower(given).as_text()
        products = [line for line in text.splitlines() if "dot_general" in line]
        assert products
        assert all("HIGHEST, HIGHEST" in line for line in products), products


@pytest.mark.slow
@pytest.mark.skipif("PRUNEJAX_REHEARSE" in os.environ, reason="this is the rehearsal")
def test_rehearsal_on_a_second_cpu_device():
    """So that these checks are known to work when a GPU comes."""
    finished = subprocess.run(
        [sys.executable, "-m", "pytest", __file__, "-q", "-p", "no:cacheprovider", "-rs"],
        cwd=Path(__file__).parents[1],
        env=os.environ | REHEARSAL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    # those that are skipped are of the other platform; this test is slow and not among them
    passed, skipped = len(CHECKS) + 1, len(CHECKS)
    assert f"{passed} passed, {skipped} skipped" in finished.stdout, finished.stdout


def main():
    """Runs each check on each accelerator and says how it went; the exit status is that of all."""
    failed = 0
    devices = {name: found for name in PLATFORMS if (found := find_device(name))}
    if not devices:
        print(f"SKIP: JAX has no {' and no '.join(PLATFORMS)} here, only {jax.devices()}")
    for platform, found in devices.items():
        print(f"{platform}: {found.device_kind}, jax {jax.__version__}", flush=True)
        for check in CHECKS:
            begun, problem = time.perf_counter(), ""
            try:
                with jax.numpy_dtype_promotion("strict"):
                    check(found)
            except Exception as error:  # the others are worth knowing
                problem = f": {type(error).__name__}: {error}"
                failed += 1
            seconds = time.perf_counter() - begun
            print(f"{'FAIL' if problem else 'PASS'} {check.__name__} {seconds:.1f} s{problem}")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
