"""What figures of studies say: their numbers are those of the data."""

import numpy as np
import polars as pl
import pytest

from experiments.adaptive_topology import figures as adaptive
from experiments.common import chart, figures
from experiments.common.methods import NAMES
from experiments.common.outputs import Outputs
from experiments.compare import report as compare
from experiments.critical_neurons import figures as critical
from experiments.entropy_kcore import figures as kcore


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A place that keeps the figure, so that its texts can be read."""
    kept = []
    monkeypatch.setattr(Outputs, "draw", lambda self, name, drawn: kept.append(_texts(drawn)))
    found = Outputs(tmp_path).figure("f")
    return found, kept


def _texts(drawn):
    """All that is written in a figure, and its axes."""
    drawn.draw_without_rendering()
    return [text.get_text() for text in drawn.findobj(match=_is_text)], drawn.axes


def _is_text(artist):
    from matplotlib.text import Text

    return isinstance(artist, Text)


def _compared(methods, sparsities, *, seeds=3):
    rows = [{"method": "dense", "sparsity": 0.0, "accuracy": 97.0, "spread": 0.3, "seeds": 3}]
    for number, method in enumerate(methods):
        for sparsity in sparsities:
            accuracy = 96 - 0.1 * number - 10 * (sparsity - min(sparsities))
            spread = 0.2 if seeds > 1 else None
            row = {"method": method, "sparsity": sparsity, "accuracy": accuracy}
            rows.append(row | {"spread": spread, "seeds": seeds})
    return pl.DataFrame(rows, schema_overrides={"spread": pl.Float64})


def test_the_comparison_stands_at_true_positions(place):
    where, kept = place
    compare.figure(_compared(["snip", "mine.py:score"], [0.5, 0.9, 0.99]), where, "net")
    ((texts, (axes,)),) = kept
    lines = {line.get_label(): line for line in axes.lines}
    assert lines["snip"].get_xdata() == pytest.approx([0.5, 0.1, 0.01])
    assert lines["snip"].get_ydata() == pytest.approx([96, 92, 91.1])
    assert axes.xaxis_inverted()
    assert {"snip", "mine.py:score", "dense (97.0)", "0.99\n1 %"} <= set(texts)
    assert any("3 seeds" in text for text in texts)


@pytest.mark.parametrize("seeds, said", [(1, "one seed, so no strokes"), (2, "mean of 2 seeds")])
def test_a_comparison_at_one_sparsity(place, seeds, said):
    where, kept = place
    compare.figure(_compared(["snip", "random"], [0.9], seeds=seeds), where, "net")
    ((texts, _),) = kept
    assert any(said in text for text in texts)


def test_all_methods_at_once_stand_in_a_legend(place):
    where, kept = place
    compare.figure(_compared(list(NAMES), [0.5, 0.9]), where, "net")
    ((_, (axes,)),) = kept
    (legend,) = axes.figure.legends
    assert len(legend.get_texts()) == len(NAMES) + 1


def test_the_dense_network_alone(place):
    where, kept = place
    compare.figure(_compared([], []), where, "net")
    ((texts, _),) = kept
    assert "dense (97.0)" in texts


@pytest.mark.parametrize("images", [360, 2000, None])
def test_the_curve_says_on_how_many_images_it_is(place, images):
    where, kept = place
    curve = {name: [0.97, 0.9] for name in ("method", "random", "critical")}
    curve |= {"share": [0.0, 0.5]} | ({} if images is None else {"images": images})
    critical.OF_PROGRAM["curve"]({"metrics": {"curve": curve}}, where, "net")
    ((_, (axes,)),) = kept
    number = "" if images is None else f"{images} "
    assert axes.get_ylabel() == f"accuracy on {number}test images (%)"


def test_criteria_say_in_words_what_all_remove(place):
    where, kept = place
    table = pl.DataFrame(
        {
            "method": ["entropy_kcore", "l1"],
            "drop": [0.8, 0.6],
            "drop_spread": [0.5, None],
            "flops_reduction": [41.44, 41.44],
            "parameter_reduction": [51.06, 52.0],
            "seeds": [3, 3],
        }
    )
    kcore.STUDIES["criteria"](table, [], where, "net")
    ((texts, (axes,)),) = kept
    (said,) = [text for text in texts if "removes" in text]
    assert "41.4 % of the multiply-adds" in said
    assert "51.1 to 52.0 % of the parameters" in said.replace("\n", " ")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["entropy_kcore", "l1"]


def test_panels_of_perturbations_end_where_lines_have_fallen(place):
    strengths = np.array([0, 0.01, 0.02, 0.05, 0.5, 1])
    curves = {"weight_order": np.array([[0.97, 0.5, 0.1, 0.1, 0.1, 0.1]])}
    measured = {
        "random": adaptive.Measured(
            *(np.ones(1), np.ones(1), 0.1, {"weight_order": strengths}, curves, [np.ones(1)])
        )
    }
    where, kept = place
    adaptive.curves(measured, ["weight_order"], where, "net")
    ((texts, (axes,)),) = kept
    assert 0.02 < axes.get_xlim()[1] < 0.6
    assert "largest weights first" in texts
    line = axes.lines[0]
    assert line.get_xdata().max() < 1  # without any link every network guesses
    whole = chart.Line("a", strengths, np.full(6, 96.0), figures.look(0))
    assert adaptive._fallen(whole) > 0
