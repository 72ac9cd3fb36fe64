"""What graphs say of accuracy: regression, importance, and the ranking of pruning methods.

Tables are anything that gives a column by its name: a dict of arrays, a polars or a pandas frame; a
row is a network. Source: Cunegatti et al. 2024, Sections 4.2 to 4.4.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from prunejax import names
from prunejax.extras import hinted


class Regression(NamedTuple):
    """How well features predict a target, out of fold.

    Attributes:
      r2: the adjusted coefficient of determination, ``1 - (1 - R2) (n - 1) / (n - p - 1)``, of the
        predictions of all folds together; the mean over repeats.
      r2_deviation: its standard deviation over repeats.
      mae: the mean absolute error; the mean over repeats.
      mae_deviation: its standard deviation over repeats.
      rows: how many rows were used.
      left_out: how many were not, because a feature or the target is NaN or infinite.
    """

    r2: float
    r2_deviation: float
    mae: float
    mae_deviation: float
    rows: int
    left_out: int


def _ols(count: int) -> Any:
    from sklearn.linear_model import LinearRegression

    del count
    return LinearRegression()


def _ridge(count: int) -> Any:
    from sklearn.linear_model import Ridge

    del count
    return Ridge(alpha=0.01)


def _lasso(count: int) -> Any:
    from sklearn.linear_model import Lasso

    del count
    return Lasso(alpha=1e-4, max_iter=100_000)


def _elastic_net(count: int) -> Any:
    from sklearn.linear_model import ElasticNet

    del count
    return ElasticNet(alpha=1e-4, max_iter=100_000)


def _huber(count: int) -> Any:
    from sklearn.linear_model import HuberRegressor

    del count
    return HuberRegressor(max_iter=10_000)


def _pcr(count: int) -> Any:
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(PCA(max(1, round(0.75 * count))), LinearRegression())


def _bayesian_ridge(count: int) -> Any:
    from sklearn.linear_model import BayesianRidge

    del count
    return BayesianRidge()


def _ard(count: int) -> Any:
    from sklearn.linear_model import ARDRegression

    del count
    return ARDRegression()


REGRESSORS: dict[str, Callable[[int], Any]] = {
    "ols": _ols,
    "ridge": _ridge,
    "lasso": _lasso,
    "elastic_net": _elastic_net,
    "huber": _huber,
    "pcr": _pcr,
    "bayesian_ridge": _bayesian_ridge,
    "ard": _ard,
}
"""By name, what makes a regression of scikit-learn for so many features. Ridge .01, lasso and the
elastic net 1e-4; "pcr" is least squares on the first 75 % of the principal components."""


@hinted
def regress(
    table: Any,
    target: str,
    features: Sequence[str],
    *,
    model: str = "ols",
    folds: int = 5,
    repeats: int = 100,
    seed: int = 0,
) -> Regression:
    """Predicts a column of a table from others by cross-validation.

    Features are scaled to [0, 1]. Rows are shuffled and divided into folds; each fold is predicted
    by a regression on the others.

    Args:
      table: the table.
      target: the column to predict.
      features: the columns to predict it from.
      model: a name in ``REGRESSORS``.
      folds: how many.
      repeats: with so many ways to shuffle.
      seed: of the first of them.

    Returns:
      How well it is predicted.

    Raises:
      ValueError: the model or a column is unknown, or there are fewer rows than folds or than
        features.
    """
    from sklearn.model_selection import KFold

    make = REGRESSORS[names.choose("model", model, REGRESSORS)]
    columns = np.stack([_column(table, name) for name in (*features, target)], axis=1)
    known = columns[np.isfinite(columns).all(axis=1)]
    rows, count = len(known), len(features)
    if rows < folds or rows <= count + 1:
        raise ValueError(
            f"{rows} rows without NaN are too few for {folds} folds and {count} features"
        )
    x, y = _scaled(known[:, :-1]), known[:, -1]
    spread = float(((y - y.mean()) ** 2).sum())
    found = np.zeros((repeats, 2))
    for repeat in range(repeats):
        predicted = np.empty(rows)
        for train, test in KFold(folds, shuffle=True, random_state=seed + repeat).split(x):
            predicted[test] = make(count).fit(x[train], y[train]).predict(x[test])
        left = float(((y - predicted) ** 2).sum()) / spread if spread else np.inf
        adjusted = 1 - left * (rows - 1) / (rows - count - 1)
        found[repeat] = adjusted, np.abs(y - predicted).mean()
    (r2, mae), (r2_deviation, mae_deviation) = found.mean(axis=0), found.std(axis=0)
    left_out = len(columns) - rows
    return Regression(
        float(r2), float(r2_deviation), float(mae), float(mae_deviation), rows, left_out
    )


def importance(
    table: Any, target: str, features: Sequence[str], by: str | None = None
) -> dict[Hashable, dict[str, float]]:
    """Pearson's correlation of each feature with a target.

    Args:
      table: the table.
      target: the column that counts.
      features: the columns whose importance is asked for.
      by: a column; rows are correlated among those with the same value in it.

    Returns:
      For each value of ``by`` (None: for "all") the correlation by feature, over the rows where
      both are finite; NaN where one of them does not vary.

    Raises:
      ValueError: a column is unknown.
    """
    y = _column(table, target)
    groups = np.full(len(y), "all") if by is None else np.asarray(_raw(table, by))
    found = {}
    for group in dict.fromkeys(groups.tolist()):
        rows = groups == group
        found[group] = {
            name: _correlation(_column(table, name)[rows], y[rows]) for name in features
        }
    return found


def rank(
    table: Any,
    target: str,
    features: Sequence[str],
    *,
    by: Sequence[str] = ("model", "sparsity"),
    scaled_by: str = "model",
) -> Float[np.ndarray, " rows"]:
    """A mixture of features that predicts how a row does: the lower, the smaller the target.

    ``r = sum of x_i (w_i + v_i) / 2`` with feature i scaled to [0, 1] among the rows of one
    ``scaled_by``, and w, v its correlation with the target among the rows of the same model and of
    the same sparsity (Section 4.4).

    Args:
      table: the table.
      target: the column that correlations are with, for instance the drop in accuracy.
      features: the columns that are mixed. One that does not vary weighs nothing.
      by: the columns whose values say among which rows correlations are taken.
      scaled_by: the column whose values say among which rows features are scaled.

    Returns:
      The mixture of each row.

    Raises:
      ValueError: a column is unknown.
    """
    weights = []
    for column in by:
        values = np.asarray(_raw(table, column)).tolist()
        found = importance(table, target, features, column)
        weights.append([[found[value][name] for name in features] for value in values])
    mean = np.nan_to_num(np.mean(np.nan_to_num(weights), axis=0))
    columns = np.stack([_column(table, name) for name in features], axis=1)
    groups = np.asarray(_raw(table, scaled_by))
    for group in dict.fromkeys(groups.tolist()):
        columns[groups == group] = _scaled(columns[groups == group])
    return (columns * mean).sum(axis=1)


def rank_biased_overlap(
    first: Sequence[Hashable], second: Sequence[Hashable], alpha: float
) -> float:
    """How alike two rankings of the same length are, the more so at the top.

    ``A_k alpha^k + (1 - alpha) / alpha sum over d of A_d alpha^d``, with A_d the share of the first
    d that both have (Webber et al. 2010, the extrapolated form).

    Args:
      first: names, the best first.
      second: names, the best first.
      alpha: in (0, 1): the smaller, the more the top counts.

    Returns:
      1 for the same ranking, 0 where they have no name in common.

    Raises:
      ValueError: the lengths differ, a name comes twice, or alpha is out of its range.

    >>> rank_biased_overlap(["a", "b"], ["b", "a"], 0.5)
    0.5
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"rankings must be as long as each other, got {len(first)}, {len(second)}")
    for one in (first, second):
        if len(set(one)) < len(one):
            raise ValueError(f"a name comes twice in {list(one)}")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    shares = [
        len(set(first[:depth]) & set(second[:depth])) / depth for depth in range(1, len(first) + 1)
    ]
    summed = sum(share * alpha**depth for depth, share in enumerate(shares, 1))
    return shares[-1] * alpha ** len(first) + (1 - alpha) / alpha * summed


def _raw(table: Any, name: str) -> Any:
    known = list(table) if isinstance(table, Mapping) else list(table.columns)
    return table[names.choose("column", name, known)]


def _column(table: Any, name: str) -> np.ndarray:
    return np.array(_raw(table, name), np.float64)


def _scaled(columns: np.ndarray) -> np.ndarray:
    low, high = np.nanmin(columns, axis=0), np.nanmax(columns, axis=0)
    return (columns - low) / np.where(high > low, high - low, 1)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])
