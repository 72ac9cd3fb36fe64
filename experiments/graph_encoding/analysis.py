"""Regressions, correlations and rankings of a table of pruned networks, whoever trained them.

A row is a network: model, dataset, method, sparsity, seed, accuracy, drop (1 - accuracy / that of
the dense network), the sixteen topometrics, and the means over layers of density and of the
Ramanujan metrics.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from prunejax import topology
from prunejax.topology import METRICS

ALPHAS = (0.25, 0.5, 0.75)
"""Of rank-biased overlaps, whose mean is the score (Cunegatti et al. 2024, Section 4.4)."""

KEY = ("model", "dataset", "method", "sparsity", "seed")
"""What tells rows apart."""

MIXTURE = "mixture of topometrics"

STRATEGIES = {
    "density": "layer density",
    "difference_of_bound": "difference of bound",
    "imdb": "IMDB",
    "imsg": "weighted spectral gap",
    MIXTURE: MIXTURE,
}
"""What ranks methods, and its name: the more of it the better, but for the mixture."""


class Cell(NamedTuple):
    """A part of the networks: all of one sparsity, or all of one model.

    Attributes:
      by: "sparsity" or "model".
      value: which one.
      rows: the networks.
    """

    by: str
    value: Any
    rows: pl.DataFrame


def cells(frame: pl.DataFrame) -> Iterator[Cell]:
    """One per sparsity, then one per model, where there are at least two of them."""
    for by in ("sparsity", "model"):
        for value in frame[by].unique(maintain_order=True).to_list():
            yield Cell(by, value, frame.filter(pl.col(by) == value))


def regressions(
    frame: pl.DataFrame, features: Sequence[str], *, model: str = "ols", repeats: int = 100
) -> pl.DataFrame:
    """How well features predict the drop in accuracy, in each cell (Table 3).

    Args:
      frame: the networks.
      features: columns of it.
      model: a name in ``topology.REGRESSORS``.
      repeats: of the cross-validation.

    Returns:
      A row per cell: by, value, r2, r2_deviation, mae, rows, left_out; NaN where there are too few
      networks.
    """
    rows = []
    for cell in cells(frame):
        said = {"by": cell.by, "value": str(cell.value)}
        try:
            found = topology.regress(cell.rows, "drop", features, model=model, repeats=repeats)
            rows.append(said | found._asdict())
        except ValueError:
            empty = dict.fromkeys(("r2", "r2_deviation", "mae", "mae_deviation"), float("nan"))
            rows.append(said | empty | {"rows": cell.rows.height, "left_out": 0})
    return pl.DataFrame(rows)


def correlations(frame: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
    """Pearson's correlation of each feature with the drop, in each cell (Figures 3, 4)."""
    rows = [
        {"by": cell.by, "value": str(cell.value), "feature": name, "r": r}
        for cell in cells(frame)
        for name, r in topology.importance(cell.rows, "drop", features)["all"].items()
    ]
    return pl.DataFrame(rows)


def rankings(
    frame: pl.DataFrame, methods: Sequence[str] | None = None, *, missing_first: bool = False
) -> pl.DataFrame:
    """How well each strategy ranks pruning methods by their accuracy (Tables 4, 11 and 12).

    Args:
      frame: the networks.
      methods: the methods that are ranked; None for all.
      missing_first: ranks methods for which a strategy has no number before all others, as a sort
        in falling order does that puts NaN first; otherwise they are left out.

    Returns:
      A row per model, sparsity and strategy: the mean rank-biased overlap with the order of
      accuracies over data sets, and its standard deviation.
    """
    features = [name for name in METRICS if name in frame.columns]
    mixed = topology.rank(frame, "drop", features)
    frame = frame.with_columns(pl.Series(MIXTURE, mixed))
    if methods is not None:
        frame = frame.filter(pl.col("method").is_in(methods))
    rows = []
    for model in frame["model"].unique(maintain_order=True):
        for sparsity in sorted(frame["sparsity"].unique()):
            some = frame.filter((pl.col("model") == model) & (pl.col("sparsity") == sparsity))
            for strategy in [name for name in STRATEGIES if name in frame.columns]:
                scores = [
                    _score(some.filter(pl.col("dataset") == dataset), strategy, missing_first)
                    for dataset in some["dataset"].unique(maintain_order=True)
                ]
                known = [score for score in scores if score is not None]
                rows.append(
                    {
                        "model": model,
                        "sparsity": sparsity,
                        "strategy": strategy,
                        "overlap": float(np.mean(known)) if known else float("nan"),
                        "deviation": float(np.std(known, ddof=1)) if len(known) > 1 else None,
                        "datasets": len(known),
                    }
                )
    return pl.DataFrame(rows)


def _score(rows: pl.DataFrame, strategy: str, missing_first: bool) -> float | None:
    """The overlap of a strategy's ranking with that of accuracies, both of means over seeds."""
    known = pl.when(pl.col(strategy).is_finite()).then(pl.col(strategy))
    means = (
        rows.group_by("method", maintain_order=True)
        .agg(known.mean(), pl.col("accuracy").mean())
        .sort("method")
    )
    if not missing_first:
        means = means.drop_nulls(strategy)
    if means.height < 2:
        return None
    expected = means.sort("accuracy", descending=True)["method"].to_list()
    falling = strategy != MIXTURE
    predicted = means.sort(strategy, descending=falling, nulls_last=False)["method"].to_list()
    overlaps = [topology.rank_biased_overlap(predicted, expected, alpha) for alpha in ALPHAS]
    return float(np.mean(overlaps))
