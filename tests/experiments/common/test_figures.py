"""Figures: looks are the methods' own, axes are true, good lines can be told apart."""

import numpy as np
import pytest

from experiments.common import chart, figures
from experiments.common.methods import NAMES
from experiments.common.outputs import Outputs

LOOK = figures.look(0)


def _falling(*ends):
    """Lines over three sparsities, one per end, that all begin at 97."""
    return [chart.line(f"m{end}", [0.1, 0.05, 0.02], [97, 96, end], None, LOOK) for end in ends]


def test_every_method_has_its_own_mark_and_dash():
    styles = figures.styles(NAMES)
    assert len({(one["marker"], str(one["linestyle"])) for one in styles.values()}) == len(NAMES)
    assert styles == {name: figures.style(name) for name in NAMES}  # whatever else is drawn


def test_colours_are_apart_and_the_first_four_also_in_grey():
    from matplotlib.colors import to_rgb

    colours = np.array([to_rgb(colour) for colour in figures.COLOURS])
    apart = [np.abs(a - b).sum() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(apart) > 0.3
    grey = colours @ [0.299, 0.587, 0.114]
    assert np.abs(np.diff(grey[:4])).min() > 0.05


def test_names_from_outside_have_looks_that_no_method_has():
    outside = ["mine.py:score", "yours.py:score", "theirs.py:other"]
    styles = figures.styles([*outside, "snip", "dense"])
    looks = [(styles[name]["marker"], str(styles[name]["linestyle"])) for name in outside]
    assert len(set(looks)) == 3
    methods = {
        (figures.style(name)["marker"], str(figures.style(name)["linestyle"])) for name in NAMES
    }
    assert not methods & set(looks)
    assert styles["mine.py:score"] == figures.style("mine.py:score")
    assert styles["snip"] == figures.style("snip")
    many = figures.styles(f"m{number}.py:score" for number in range(40))  # some look alike
    assert len({(one["marker"], str(one["linestyle"])) for one in many.values()}) == 16


def test_rules_of_growth_look_like_the_methods_that_use_them():
    styles = figures.growth_styles(["random", "ch3_l3", "gradient", "none", "criticality"])
    assert styles["random"] == figures.style("set")
    assert styles["gradient"] == figures.style("rigl")
    assert styles["none"] == figures.style("gmp")
    assert styles["ch3_l3"] == figures.style("ch3_l3")
    assert len({(one["marker"], one["color"]) for one in styles.values()}) == 5


def test_the_order_of_methods():
    assert figures.in_order(["snip", "random", "dense"]) == ["dense", "random", "snip"]
    assert figures.in_order(["m.py:f", "snip"]) == ["snip", "m.py:f"]


def test_the_y_range_holds_the_good_lines_and_leaves_out_what_falls_to_chance():
    low, high = chart.y_range(_falling(95, 94, 93.5, 10), references=[97.5])
    assert 90 < low < 93.5
    assert high == 97.5
    # those that fall little are shown
    assert chart.y_range(_falling(95, 94, 93.5, 92.5))[0] == 92.5
    # where most fall there is no stripe
    assert chart.y_range(_falling(95, 10, 10, 10))[0] == 10
    assert chart.y_range(_falling(95, 10))[0] == 10
    assert chart.y_range(_falling(10))[0] == 10


def test_bands_of_good_lines_are_in_the_y_range():
    lines = [
        chart.line("a", [0.1, 0.02], [97, 95], [0.5, 3.0], LOOK),
        chart.line("b", [0.1, 0.02], [97, 94], [None, 1.0], LOOK),
    ]
    low, high = chart.y_range(lines)
    assert (low, high) == (92, 98)
    assert lines[1].low == pytest.approx([97, 93])
    assert chart.line("c", [1, 2], [3, 4], [None, None], LOOK).low is None


def test_means_and_bands_are_those_of_seeds():
    one = chart.of_seeds("a", [1, 2], [[1, 5], [3, 5]], LOOK)
    assert one.y == pytest.approx([2, 5])
    assert one.high == pytest.approx([2 + np.sqrt(2), 5])
    assert chart.of_seeds("a", [1, 2], [[1, 5]], LOOK).low is None
    assert "3 seeds" in chart.band_words(3)
    assert "2 to 3 seeds" in chart.band_words(2, 3)
    assert "no bands" in chart.band_words(1)


def test_what_is_below_the_axis_is_marked_with_its_value():
    _, (axes,) = figures.canvas(1)
    lines = _falling(95, 94, 93.5)
    lines.append(chart.line("bad", [0.1, 0.05, 0.02], [97, 49.4, 10.2], None, LOOK))
    chart.density_axis(axes, [0.9, 0.95, 0.98])
    assert chart.draw(axes, lines)
    said = [text.get_text() for text in axes.texts]
    assert "bad ↓ 49.4" in said  # at its place
    assert "bad ↓ 10.2" in said  # at the line's end
    assert sum("↓" in text for text in said) == 2
    assert axes.get_ylim()[0] > 49.4
    for name in ("m95", "m94", "m93.5"):
        assert name in said
    _, (axes,) = figures.canvas(1)
    assert not chart.draw(axes, lines, whole=True)
    assert axes.get_ylim()[0] < 10.2
    assert not [text for text in axes.texts if "↓" in text.get_text()]


def test_lines_without_values_are_left_out():
    _, (axes,) = figures.canvas(1)
    nothing = chart.line("none", [0.1, 0.02], [np.nan, np.nan], None, LOOK)
    assert not chart.draw(axes, [nothing])
    half = chart.line("half", [0.1, 0.02], [97, np.nan], None, LOOK)
    assert not chart.draw(axes, [nothing, half, *_falling(95, 94)])
    assert [line.get_label() for line in axes.lines[:3]] == ["half", "m95", "m94"]


def test_many_points_below_get_one_mark():
    _, (axes,) = figures.canvas(1)
    x = np.arange(10)
    lines = [chart.line(name, x, 97 - 0.01 * x, None, LOOK) for name in "abc"]
    lines.append(chart.line("bad", x, 50.0 - x, None, LOOK))
    assert chart.draw(axes, lines, names=False)
    assert [text.get_text() for text in axes.texts] == ["bad ↓ to 41"]


def test_the_density_axis_is_log_falls_to_the_right_and_says_sparsities():
    _, (axes,) = figures.canvas(1)
    chart.density_axis(axes, [0.9, 0.95, 0.98, 0.95])
    assert axes.get_xscale() == "log"
    assert axes.xaxis_inverted()
    labels = [label.get_text() for label in axes.get_xticklabels()]
    ticks = dict(zip(axes.get_xticks(), labels, strict=True))
    assert {round(tick, 9): text for tick, text in ticks.items()} == {
        0.02: "0.98\n2 %",
        0.05: "0.95\n5 %",
        0.1: "0.9\n10 %",
    }


@pytest.mark.parametrize("sparsities", [[0.9], [0.0, 0.5], [0.9, 0.901, 0.999], [0.5, 1.0]])
def test_the_density_axis_shows_all_that_is_kept(sparsities):
    _, (axes,) = figures.canvas(1)
    chart.density_axis(axes, sparsities)
    high, low = axes.get_xlim()
    kept = [1 - sparsity for sparsity in sparsities if sparsity < 1]
    assert low < min(kept) <= max(kept) < high
    assert len(axes.get_xticks()) == len({round(one, 2) for one in kept})


def test_names_stand_apart_and_in_their_order():
    wanted = np.array([0.5, 0.5, 0.52, 0.1, 0.9])
    places = chart.apart(wanted, 0.1)
    assert np.diff(np.sort(places)).min() >= 0.1 - 1e-9
    assert (np.argsort(places) == np.argsort(wanted, kind="stable")).all()
    assert places[3:] == pytest.approx(wanted[3:])
    assert places[:3].mean() == pytest.approx(wanted[:3].mean())


def test_the_same_numbers_give_the_same_file(tmp_path):
    for folder in ("a", "b"):
        drawn, (axes,) = figures.canvas(1)
        chart.draw(axes, _falling(95, 94), references=[("dense", 97.5)])
        place = Outputs(tmp_path / folder, ("png", "pdf")).figure("f")
        figures.save_figure(drawn, place, "A title " * 20, "settings " * 40)
    for suffix in ("png", "pdf"):
        first, second = (tmp_path / folder / f"f.{suffix}" for folder in ("a", "b"))
        assert first.read_bytes() == second.read_bytes()


def test_a_legend_names_each_series_once():
    drawn, panels = figures.canvas(3, columns=2)
    assert len(drawn.axes) == len(panels) == 3
    for axes in panels:
        axes.plot([1], label="first")
    panels[1].plot([1], label="second")
    figures.legend(drawn, panels)
    assert [text.get_text() for text in drawn.legends[0].get_texts()] == ["first", "second"]
