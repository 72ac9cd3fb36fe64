"""Regression, importance and ranking against plain loops and worked examples."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prunejax import topology

NAMES = ("a", "b", "c")


def table(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    columns = {name: rng.normal(size=rows) * 10**place for place, name in enumerate(NAMES)}
    columns["model"] = np.array(["one", "two", "three"])[np.arange(rows) % 3]
    columns["sparsity"] = np.array([0.5, 0.9])[np.arange(rows) // 3 % 2]
    columns["drop"] = columns["a"] - 0.02 * columns["c"] + 0.3 * rng.normal(size=rows)
    return columns


def test_out_of_fold_predictions_by_hand():
    """Least squares by the normal equations, fold by fold, scikit-learn's shuffling."""
    from sklearn.model_selection import KFold

    given_table = table()
    x = np.stack([given_table[name] for name in NAMES], axis=1)
    y, found = given_table["drop"], []
    for repeat in range(3):
        predicted = np.zeros(60)
        for train, test in KFold(5, shuffle=True, random_state=repeat).split(x):
            whole = np.column_stack((np.ones(len(x)), x))
            weights = np.linalg.lstsq(whole[train], y[train], rcond=None)[0]
            predicted[test] = whole[test] @ weights
        r2 = 1 - ((y - predicted) ** 2).sum() / ((y - y.mean()) ** 2).sum()
        found.append((1 - (1 - r2) * 59 / 56, np.abs(y - predicted).mean()))
    result = topology.regress(given_table, "drop", NAMES, repeats=3)
    assert result.r2 == pytest.approx(np.mean([r2 for r2, _ in found]), rel=1e-9)
    assert result.r2_deviation == pytest.approx(np.std([r2 for r2, _ in found]), rel=1e-6)
    assert result.mae == pytest.approx(np.mean([mae for _, mae in found]), rel=1e-9)
    assert (result.rows, result.left_out) == (60, 0)


@pytest.mark.parametrize("model", topology.REGRESSORS)
def test_every_model_finds_what_is_there_and_nothing_in_noise(model):
    there = topology.regress(table(), "drop", NAMES, model=model, repeats=2)
    noise = {**table(), "drop": np.random.default_rng(9).normal(size=60)}
    nothing = topology.regress(noise, "drop", NAMES, model=model, repeats=2)
    assert there.r2 > 0.8
    assert nothing.r2 < 0.2


def test_rows_with_nan_are_left_out_and_counted():
    holes = table()
    holes["a"][[3, 7]] = np.nan
    holes["drop"][9] = np.inf
    rest = {name: np.delete(column, [3, 7, 9]) for name, column in holes.items()}
    found = topology.regress(holes, "drop", NAMES, repeats=2)
    assert (found.rows, found.left_out) == (57, 3)
    assert found[:5] == topology.regress(rest, "drop", NAMES, repeats=2)[:5]


def test_frames_of_polars():
    columns = table()
    expected = topology.regress(columns, "drop", NAMES, repeats=1)
    frame = pl.DataFrame(columns)
    assert topology.regress(frame, "drop", NAMES, repeats=1) == expected
    alike = [topology.importance(one, "drop", NAMES) for one in (frame, columns)]
    assert alike[0] == alike[1]


def test_importance_is_pearsons_correlation_in_each_group():
    columns = table()
    columns["flat"] = np.ones(60)
    found = topology.importance(columns, "drop", [*NAMES, "flat"], "model")
    assert list(found) == ["one", "two", "three"]
    for model, by_feature in found.items():
        rows = columns["model"] == model
        for name in NAMES:
            x, y = columns[name][rows], columns["drop"][rows]
            x, y = x - x.mean(), y - y.mean()
            r = (x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum())
            assert by_feature[name] == pytest.approx(r)
        assert math.isnan(by_feature["flat"])
    (everything,) = topology.importance(columns, "drop", NAMES).values()
    assert everything["a"] == pytest.approx(np.corrcoef(columns["a"], columns["drop"])[0, 1])


def test_a_mixture_by_loops():
    columns = table()
    columns["flat"] = np.ones(60)
    features = [*NAMES, "flat"]
    found = topology.rank(columns, "drop", features)
    by_model = topology.importance(columns, "drop", features, "model")
    by_sparsity = topology.importance(columns, "drop", features, "sparsity")
    for row in range(60):
        model, sparsity = columns["model"][row], columns["sparsity"][row]
        total = 0.0
        for name in NAMES:
            among = columns[name][columns["model"] == model]
            scaled = (columns[name][row] - among.min()) / (among.max() - among.min())
            total += scaled * (by_model[model][name] + by_sparsity[sparsity][name]) / 2
        assert found[row] == pytest.approx(total)
    assert np.corrcoef(found, columns["drop"])[0, 1] > 0.5


def test_overlaps_by_hand():
    overlap = topology.rank_biased_overlap
    assert overlap("abcd", "abcd", 0.7) == pytest.approx(1)
    assert overlap("abcd", "efgh", 0.7) == 0
    # agreement 0, 1, 2/3 at depths 1, 2, 3
    expected = 2 / 3 * 0.5**3 + 1 * (1 * 0.5**2 + 2 / 3 * 0.5**3)
    assert overlap("abx", "bay", 0.5) == pytest.approx(expected)


@given(st.permutations(range(6)), st.floats(0.05, 0.95))
def test_overlaps_lie_between_0_and_1_and_favour_the_top(order, alpha):
    same = list(range(6))
    value = topology.rank_biased_overlap(order, same, alpha)
    assert 0 <= value <= 1 + 1e-12
    assert value == pytest.approx(topology.rank_biased_overlap(same, order, alpha))
    top, end = [1, 0, 2, 3, 4, 5], [0, 1, 2, 3, 5, 4]
    assert topology.rank_biased_overlap(top, same, alpha) < topology.rank_biased_overlap(
        end, same, alpha
    )


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: topology.regress(table(), "drop", NAMES, model="olz"), "did you mean 'ols'"),
        (lambda: topology.regress(table(), "drob", NAMES), "did you mean 'drop'"),
        (lambda: topology.regress(table(4), "drop", NAMES), "4 rows without NaN are too few"),
        (lambda: topology.rank_biased_overlap("ab", "abc", 0.5), "as long as each other"),
        (lambda: topology.rank_biased_overlap("aa", "ab", 0.5), "a name comes twice"),
        (lambda: topology.rank_biased_overlap("ab", "ab", 1.0), "alpha must be in"),
    ],
)
def test_what_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
