"""The published results as tables, and the numbers of the paper's Tables 3 and 4."""

from pathlib import Path

import numpy as np
import polars as pl

from experiments.graph_encoding.analysis import KEY
from prunejax.topology import METRICS

METHODS = ("snip", "grasp", "synflow", "prospr", "uniform", "er", "erk")
"""The seven methods of the paper; the data hold four more."""

AT_INITIALISATION, RANDOM = METHODS[:4], METHODS[4:]
"""Those of Table 11, and those of Table 12."""

MODELS = ("CONV-6", "Resnet-20", "Resnet-32", "Wide-Resnet-28-2")
DATASETS = ("CIFAR-10", "CIFAR-100", "tinyimagenet")
SPARSITIES = (0.6, 0.8, 0.9, 0.95, 0.98)

DENSE = {
    "CIFAR-10": (0.932, 0.917, 0.923, 0.944),
    "CIFAR-100": (0.685, 0.664, 0.680, 0.742),
    "tinyimagenet": (0.461, 0.463, 0.480, 0.486),
}
"""Accuracies of the dense networks, of each model (Tables 8 to 10)."""

ENCODINGS = {"unrolled": "multipartite", "rolled": "rolled", "rolled_channel": "rolled channel"}

COLUMNS = {
    "sink": "sink_nodes",
    "source": "source_nodes",
    "disconnected": "disc_nodes",
    "r_out": "r-out",
    "r_in": "r-in",
    "n1": "1-hop_nei",
    "n2": "2-hop_nei",
    "motif4": "motif",
    "k_core": "k-core",
    "strength": "avg_node_strength",
    "components": "no_connected_components",
    "mean_component": "mean_connected_components",
    "cut_edges": "cut-edges",
    "cut_nodes": "cut-nodes",
    "spectral_gap": "spectral_gap",
    "spectral_radius": "spectral_radius",
}
"""What the published tables call the metrics."""

OF_LAYERS = {
    "n1": "nei_one_hop",
    "motif4": "motifs_count",
    "k_core": "coreness_all",
    "strength": "strenght_all",
    "components": "weak_clusters",
    "mean_component": "mean_weak",
    "cut_edges": "bridges",
    "cut_nodes": "a_point",
    "spectral_gap": "spectral_gap_weighted_undirected",
    "spectral_radius": "spectral_radius_laplacian_weighted_undirected",
}
"""What most tables of layers call them; those without such columns have the names of ``COLUMNS``.
The six metrics that are missing say nothing of a graph of two sides, and are 0."""

AS_THEY_ARE = ("components", "spectral_gap", "spectral_radius")
"""What is not divided by the layer's edges."""

LAYERS = {
    "density": "layer_sparsity",
    "difference_of_bound": "degree_bound",
    "imdb": "iterative_degree_bound",
    "imsg": "iterative_spectral_gap",
}
"""What the tables of Ramanujan metrics call them; "layer_sparsity" is a density."""

TABLE_3 = {
    "multipartite": (0.54, 0.58, 0.59, 0.50, 0.59, 0.72, 0.78, 0.72, 0.83),
    "rolled": (0.02, 0.11, 0.19, 0.19, 0.28, 0.65, 0.75, 0.70, 0.70),
    "rolled channel": (0.10, 0.16, 0.25, 0.29, 0.47, 0.66, 0.54, 0.60, 0.72),
}
"""The paper's adjusted R^2: five sparsities, then four models."""

TABLE_3_MAE = {
    "multipartite": (0.014, 0.032, 0.056, 0.091, 0.113, 0.035, 0.080, 0.089, 0.035),
    "rolled": (0.020, 0.047, 0.079, 0.122, 0.165, 0.043, 0.082, 0.091, 0.045),
    "rolled channel": (0.020, 0.047, 0.076, 0.111, 0.144, 0.040, 0.119, 0.113, 0.045),
}

TABLE_4 = {
    "density": ((.56, .58, .88, .88, .68), (.95, .31, .18, .15, .18), (.58, .17, .18, .15, .18),
                (.31, .31, .48, .40, .25)),
    "difference_of_bound": ((.44, .44, .79, .83, .84), (.91, .23, .15, .14, .52),
                            (.56, .16, .14, .15, .46), (.28, .28, .27, .20, .21)),
    "imdb": ((.49, .58, .82, .83, .80), (.91, .25, .15, .14, .52), (.56, .16, .14, .15, .50),
             (.28, .29, .24, .19, .21)),
    "imsg": ((.17, .20, .58, .82, .84), (.91, .56, .18, .14, .48), (.72, .77, .14, .15, .68),
             (.28, .69, .30, .14, .21)),
    "mixture of topometrics": ((.51, .51, .36, .39, .80), (.57, .92, .44, .62, .92),
                               (.96, .60, .53, .61, .79), (.35, .59, .32, .52, .38)),
}  # fmt: skip
"""The paper's rank-biased overlaps: by strategy, of each model at each sparsity."""


def read(reference: Path, encoding: str) -> pl.DataFrame:
    """A table of the published networks, a row per network, as ``analysis`` takes it.

    Args:
      reference: the folder of the published data.
      encoding: "unrolled", "rolled" or "rolled_channel".

    Returns:
      Networks of the paper's seven methods, each once; metrics that are NaN or infinite are NaN.

    Raises:
      FileNotFoundError: a file is missing; it is named.
      ValueError: a file lacks a column.
    """
    if encoding == "unrolled":
        found = _table(reference / "unrolled.csv.gz").rename({"pruning": "method"})
        metrics = {name: pl.col(column) for name, column in COLUMNS.items()}
        return _named(found, metrics, reference / "unrolled.csv.gz")
    files = [reference / encoding / f"{encoding}-{d}-{m}.csv.gz" for d in DATASETS for m in MODELS]
    layers = pl.concat([_of_layers(_table(path), path) for path in files])
    means = layers.group_by(KEY, maintain_order=True).agg(
        pl.col("accuracy").first(),
        *(_finite(pl.col(name)).mean().alias(name) for name in OF_LAYERS),
    )
    return _named(means, {name: _or_zero(name) for name in METRICS}, reference / encoding)


def layer_metrics(reference: Path, *, compat: bool = False) -> pl.DataFrame:
    """Accuracy, density and Ramanujan metrics of the published networks, means over layers.

    These tables do not say the method; they have the rows of the rolled graphs in the same order.
    They hold networks that the table of multipartite graphs lacks.

    Args:
      reference: the folder of the published data.
      compat: takes the mean difference of bound over the layers alone where all three metrics are
        finite, which comes nearer to the paper's Table 4.

    Returns:
      A row per network.

    Raises:
      FileNotFoundError: a file is missing; it is named.
      ValueError: the rows of two files do not fit together.
    """
    parts = []
    for dataset in DATASETS:
        for model in MODELS:
            name = f"rolled-{dataset}-{model}.csv.gz"
            path, beside = reference / "ramanujan" / name, reference / "rolled" / name
            found, named = _table(path), _table(beside)
            same = found.height == named.height and all(
                (found[column] == named[column]).all() for column in ("accuracy", "layer_id")
            )
            if not same:
                raise ValueError(f"the rows of {path} are not those of {beside}")
            methods = named[_method_of(named)].alias("method")
            kept = [pl.col(old).cast(pl.Float64).alias(new) for new, old in LAYERS.items()]
            key = [column for column in KEY if column != "method"]
            parts.append(found.with_columns(methods).select("method", *key, "accuracy", *kept))
    layers = pl.concat(parts, how="vertical_relaxed")
    if compat:
        whole = pl.all_horizontal(pl.col(name).is_finite() for name in list(LAYERS)[1:])
        bound = pl.when(whole).then(pl.col("difference_of_bound"))
        layers = layers.with_columns(bound.alias("difference_of_bound"))
    means = layers.group_by(KEY, maintain_order=True).agg(
        pl.col("accuracy").first(), *(_finite(pl.col(name)).mean().alias(name) for name in LAYERS)
    )
    return _named(means, {name: pl.col(name) for name in LAYERS}, reference / "ramanujan")


def _table(path: Path) -> pl.DataFrame:
    if not path.exists():
        raise FileNotFoundError(f"the published data lack {path}")
    return pl.read_csv(path, infer_schema_length=10_000, null_values=["inf", "nan", ""])


def _method_of(table: pl.DataFrame) -> str:
    return "pruning_algorithm" if "pruning_algorithm" in table.columns else "pruning"


def _of_layers(table: pl.DataFrame, path: Path) -> pl.DataFrame:
    """The metrics of layers, divided by the layer's edges."""
    columns = OF_LAYERS if OF_LAYERS["k_core"] in table.columns else COLUMNS
    missing = [columns[name] for name in OF_LAYERS if columns[name] not in table.columns]
    if missing:
        raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
    named = table.rename({_method_of(table): "method"})
    edges = pl.col("edges").cast(pl.Float64)
    return named.select(
        *KEY,
        "accuracy",
        *(
            (
                pl.col(columns[name]).cast(pl.Float64) / (1.0 if name in AS_THEY_ARE else edges)
            ).alias(name)
            for name in OF_LAYERS
        ),
    )


def _named(table: pl.DataFrame, metrics: dict[str, pl.Expr], path: Path) -> pl.DataFrame:
    try:
        named = table.filter(pl.col("method").is_in(METHODS)).select(
            *KEY,
            "accuracy",
            *(
                _finite(expression.cast(pl.Float64)).alias(name)
                for name, expression in metrics.items()
            ),
        )
    except pl.exceptions.ColumnNotFoundError as error:
        raise ValueError(f"{path} lacks a column: {error}") from error
    dense = {(d, m): of[place] for d, of in DENSE.items() for place, m in enumerate(MODELS)}
    whole = np.array([dense[pair] for pair in named.select("dataset", "model").rows()])
    drop = pl.Series("drop", 1 - named["accuracy"].to_numpy() / whole)
    return named.with_columns(drop).unique(KEY, keep="first", maintain_order=True)


def _or_zero(name: str) -> pl.Expr:
    return pl.col(name) if name in OF_LAYERS else pl.lit(0.0)


def _finite(expression: pl.Expr) -> pl.Expr:
    return pl.when(expression.is_finite()).then(expression)
