import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prunejax.data import Split, batches, batches_per_epoch, sequential

KEY = jax.random.key(3)


@pytest.fixture
def split():
    """Ten examples, each image filled with its label."""
    labels = np.arange(10, dtype=np.int32)
    images = np.repeat(labels.astype(np.float32), 4).reshape(10, 2, 2, 1)
    return Split(images, labels)


def order(iterator):
    return [labels.tolist() for _, labels in iterator]


def test_an_epoch_is_a_permutation_with_images_and_labels_together(split):
    for images, labels in batches(split, batch_size=2, key=KEY):
        assert images.shape == (2, 2, 2, 1)
        assert (images.dtype, labels.dtype) == (np.float32, np.int32)
        np.testing.assert_array_equal(images[:, 1, 0, 0], labels)
    flat = np.concatenate(order(batches(split, batch_size=2, key=KEY))).tolist()
    assert sorted(flat) == list(range(10))
    assert flat != list(range(10))


def test_the_remainder_is_dropped_or_kept(split):
    dropped = order(batches(split, batch_size=4, key=KEY))
    kept = order(batches(split, batch_size=4, key=KEY, drop_remainder=False))
    assert [len(labels) for labels in dropped] == [4, 4]
    assert [len(labels) for labels in kept] == [4, 4, 2]
    assert kept[:2] == dropped
    assert order(batches(split, batch_size=11, key=KEY, drop_remainder=False))[0] != list(range(10))


def test_the_order_depends_on_the_key_and_the_epoch_only(split):
    def epoch(**options):
        return order(batches(split, **{"batch_size": 10, "key": KEY, **options}))

    assert epoch(epoch=1) == epoch(epoch=1)
    assert epoch() == epoch(epoch=0)
    orders = [epoch(epoch=n)[0] for n in range(5)] + [epoch(key=jax.random.key(4))[0]]
    assert len({tuple(labels) for labels in orders}) == 6
    assert np.concatenate(epoch(batch_size=2, epoch=1)).tolist() == epoch(epoch=1)[0]


def test_the_order_is_the_documented_one(split):
    words = jax.random.key_data(jax.random.fold_in(KEY, 7))
    expected = np.random.default_rng(np.asarray(words)).permutation(10).tolist()
    assert order(batches(split, batch_size=10, key=KEY, epoch=7)) == [expected]


@pytest.mark.parametrize("drop_remainder", [True, False])
def test_a_resumed_epoch_is_the_tail_of_the_whole(split, drop_remainder):
    options = {"batch_size": 3, "key": KEY, "epoch": 2, "drop_remainder": drop_remainder}
    whole = order(batches(split, **options))
    for start in range(len(whole) + 1):
        assert order(batches(split, start=start, **options)) == whole[start:]


def test_batches_are_new_arrays(split):
    for array in split:
        array.setflags(write=False)
    images, labels = next(batches(split, batch_size=10, key=KEY))
    images[:], labels[:] = -1, -1
    assert split.labels.tolist() == list(range(10))


def test_jax_arrays_are_taken_too(split):
    images, labels = next(
        batches((jnp.asarray(split[0]), jnp.asarray(split[1])), batch_size=10, key=KEY)
    )
    assert isinstance(images, np.ndarray)
    np.testing.assert_array_equal(images[:, 0, 0, 0], labels)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 11}, "batch_size must be at most the 10 examples.*got 11"),
        ({"batch_size": 5, "start": 3}, r"start must be in 0\.\.2.*got 3"),
        ({"batch_size": 5, "start": -1}, "start must be .*got -1"),
        ({"batch_size": 5, "epoch": -1}, "epoch must be at least 0, got -1"),
    ],
)
def test_bad_options_are_refused_at_once(split, options, message):
    with pytest.raises(ValueError, match=message):
        batches(split, key=KEY, **options)


def test_arrays_that_do_not_match_are_refused_at_once(split):
    shorter = (split.images, split.labels[:9])
    with pytest.raises(ValueError, match="must have one length"):
        batches(shorter, batch_size=2, key=KEY)
    with pytest.raises(ValueError, match="must have one length"):
        sequential(shorter, 2)
    with pytest.raises(ValueError, match="at least one example"):
        sequential((split.images[:0], split.labels[:0]), 2)
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        sequential(split, 0)


def test_batches_per_epoch_counts_them(split):
    for size, drop in itertools.product(range(1, 11), (True, False)):
        made = list(batches(split, batch_size=size, key=KEY, drop_remainder=drop))
        assert batches_per_epoch(10, size, drop) == len(made)
    assert batches_per_epoch(10, 11, drop_remainder=False) == 1
    assert batches_per_epoch(10, 4) == 2
    for n, size in ((0, 1), (10, 0), (10, 11)):
        with pytest.raises(ValueError):
            batches_per_epoch(n, size)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 10, 16])
def test_sequential_batches_are_in_order_and_padded(split, batch_size):
    seen = list(sequential((split.images + 1, split.labels + 1), batch_size))
    for images, labels, weights in seen:
        assert images.shape == (batch_size, 2, 2, 1)
        assert labels.shape == weights.shape == (batch_size,)
        assert (images.dtype, labels.dtype, weights.dtype) == (np.float32, np.int32, np.float32)
        np.testing.assert_array_equal(images[:, 0, 0, 0], labels)
        np.testing.assert_array_equal(weights, labels > 0)
    labels = np.concatenate([labels for _, labels, _ in seen])
    assert labels[:10].tolist() == list(range(1, 11))
    assert labels[10:].tolist() == [0] * (len(seen) * batch_size - 10)
    assert len(seen) == -(-10 // batch_size)


def test_a_weighted_evaluation_compiles_once_and_is_exact(split):
    traces = []

    @jax.jit
    def step(images, labels, weights):
        traces.append(1)
        return jnp.sum(
            weights * (images.mean(axis=(1, 2, 3)) + labels.astype(jnp.float32))
        ), jnp.sum(weights)

    totals = np.sum([step(*batch) for batch in sequential(split, 4)], axis=0)
    assert totals[0] / totals[1] == pytest.approx(2 * np.mean(np.arange(10)))
    assert len(traces) == 1
