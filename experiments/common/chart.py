"""Lines with bands: true positions, a y axis that tells good methods apart, names at line ends."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.common.figures import legend

MARKED = 25
"""Points of a line that all have marks; of more, about ten have."""

ROOM = 0.5
"""How far below the good lines the y axis goes, in parts of the height that they take."""

MOST_NAMES = 14
"""Lines that are named at their ends; more of them get a legend below the axes."""

LONGEST = 32
"""Letters of a line's name."""

BELOW = "↓: a mean below the axis"


class Line(NamedTuple):
    """One series of a figure.

    Attributes:
      name: what it is called.
      x: positions, [points].
      y: values, mostly means over seeds, [points].
      look: colour, mark and dash, see ``figures.styles``.
      low, high: the edges of its band, [points]; None: no band.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    look: dict[str, Any]
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def line(name: str, x: Any, mean: Any, spread: Any, look: dict[str, Any]) -> Line:
    """A line with a band of one standard deviation to either side; none where no spread is known.

    Args:
      name: what it is called.
      x: positions, [points].
      mean: means over seeds, [points].
      spread: standard deviations, [points], None or NaN where there is one seed; None: of all.
      look: colour, mark and dash.
    """
    x, mean = np.asarray(x, float), np.asarray(mean, float)
    spread = np.full(len(mean), np.nan) if spread is None else np.asarray(list(spread), float)
    if not np.isfinite(spread).any():
        return Line(name, x, mean, look)
    spread = np.nan_to_num(spread)
    return Line(name, x, mean, look, mean - spread, mean + spread)


def of_seeds(name: str, x: Any, values: Any, look: dict[str, Any]) -> Line:
    """A line of the mean over seeds, with their sample standard deviation as a band.

    Args as in ``line``, but for the values: a row per seed, [seeds, points].
    """
    values = np.asarray(values, float)
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else None
    return line(name, x, values.mean(axis=0), spread, look)


def band_words(seeds: int, most: int = 0, *, line: str = "line", band: str = "band") -> str:
    """What lines and bands are, for the settings of a figure.

    Args:
      seeds: the fewest that a mean is of.
      most: the most; 0: as many.
      line: what shows the mean.
      band: what shows the spread.
    """
    most = max(seeds, most)
    if most == 1:
        return f"one seed, so no {band}s"
    of = f"{most}" if seeds == most else f"{seeds} to {most}"
    return f"{line}: mean of {of} seeds, {band}: one standard deviation to either side"


def height_for(lines: int) -> float:
    """How high a figure of so many lines is, in inches: with more there is a legend below."""
    return 4.0 + (0.09 * lines if lines > MOST_NAMES else 0.0)


def y_range(lines: Sequence[Line], references: Sequence[float] = ()) -> tuple[float, float]:
    """The y values that are shown, so that the good lines can be told apart.

    At each x the better half of the lines is good (two at least). All that is good is shown with
    its bands, and half as much again below it. What lies still lower would press the good lines
    into a stripe, so it is left out, unless showing it takes less than twice the height.

    Args:
      lines: the lines; higher is better.
      references: levels that are shown too.

    Returns:
      The lowest and the highest value, without margins.
    """
    bottom = np.concatenate([_edge(one, one.low) for one in lines])
    highest = max(*(float(np.nanmax(_edge(one, one.high))) for one in lines), *references, -np.inf)
    lowest = min(float(np.nanmin(bottom)), *references, np.inf)
    good = []
    for x in np.unique(np.concatenate([one.x for one in lines])):
        here = [
            (float(y), float(low))
            for one in lines
            for at, y, low in zip(one.x, one.y, _edge(one, one.low), strict=True)
            if at == x and np.isfinite(y)
        ]
        good += [low for _, low in sorted(here, reverse=True)[: max(2, -(-len(here) // 2))]]
    least = min(*good, *references, highest)
    limit = least - ROOM * (highest - least)
    return (lowest if highest - lowest <= 2 * (highest - limit) else limit), highest


def _edge(one: Line, edge: np.ndarray | None) -> np.ndarray:
    return one.y if edge is None else edge


def draw(
    axes: Any,
    lines: Sequence[Line],
    *,
    references: Sequence[tuple[str, float]] = (),
    names: bool = True,
    whole: bool = False,
) -> bool:
    """Draws lines and their bands, and what is below the axis as arrows with their values.

    Args:
      axes: where to; its scale of x is already set.
      lines: the lines; those without any finite value are left out.
      references: (name, level) of dotted lines across.
      names: whether lines are named at their right ends.
      whole: shows all values, however far apart.

    Returns:
      Whether something is below the axis.
    """
    lines = [one._replace(name=_short(one.name)) for one in lines if np.isfinite(one.y).any()]
    if not lines:
        return False
    low, high = y_range(lines, [level for _, level in references])
    if whole:
        low = min(low, *(float(np.nanmin(_edge(one, one.low))) for one in lines))
    crowded = names and len(lines) > MOST_NAMES
    for one in lines:
        marks = one.look | {"markevery": every(len(one.x))}
        lowest = float(np.nanmin(one.y))
        label = f"{one.name} ↓ to {lowest:.3g}" if crowded and lowest < low else one.name
        axes.plot(one.x, one.y, label=label, **marks)
        if one.low is not None and one.high is not None:
            band = {"color": one.look["color"], "linewidth": 0, "alpha": 0.16}
            axes.fill_between(one.x, one.low, one.high, **band)
            if len(one.x) == 1:
                axes.vlines(one.x, one.low, one.high, color=one.look["color"])
    for name, level in references:
        axes.axhline(level, color="black", linewidth=1, linestyle=(0, (1, 1.5)), label=name)
    below = any(float(np.nanmin(one.y)) < low for one in lines)
    if below and not crowded:
        _mark_below(axes, lines, low, names=names)
    margin = 0.04 * ((high - low) or 1.0)
    axes.set_ylim(low if below else low - margin, high + margin)
    if crowded:
        legend(axes.figure, [axes])
    elif names:
        right = axes.get_xlim()[0 if axes.xaxis_inverted() else 1]
        ends = [Line(name, np.array([right]), np.array([y]), {}) for name, y in references]
        name_ends(axes, [*lines, *ends])
    return below


def _short(name: str) -> str:
    """The end of a long name, such as that of a criterion in a file."""
    return name if len(name) <= LONGEST else f"…{name[1 - LONGEST :]}"


def _mark_below(axes: Any, lines: Sequence[Line], low: float, *, names: bool) -> None:
    """Marks points below the axis at its edge; line ends say it beside their names if there are."""
    stacked: dict[float, int] = {}
    axes.get_xlim()  # brings the limits up to date
    for one in sorted(lines, key=lambda each: -float(np.nanmin(each.y))):
        places = np.flatnonzero(one.y < low)
        if names:
            places = places[places != _last(axes, one)]
        said = "↓"
        if len(places) > 2:
            places, said = places[[np.argmin(one.y[places])]], "↓ to"
        for x, y in zip(one.x[places], one.y[places], strict=True):
            level = stacked.get(float(x), 0)
            stacked[float(x)] = level + 1
            across = axes.transAxes.inverted().transform(axes.transData.transform((x, low)))[0]
            axes.annotate(
                *(f"{one.name} {said} {y:.3g}", (x, 0)),
                xycoords=("data", "axes fraction"),
                xytext=(-2 if across > 0.5 else 2, 4 + 12 * level),
                textcoords="offset points",
                ha="right" if across > 0.5 else "left",
                **{"fontsize": 8, "bbox": {"color": "white", "pad": 0.5}},
            )


def every(points: int) -> int:
    """Of so many points of a line every n-th has a mark."""
    return 1 if points <= MARKED else -(-points // 10)


def name_ends(axes: Any, lines: Sequence[Line]) -> None:
    """Names lines to the right of the axes at the heights of their ends, none over another.

    An end below the axis is named at the bottom with its value.
    """
    ends = [(float(one.x[_last(axes, one)]), float(one.y[_last(axes, one)])) for one in lines]
    inside = axes.transAxes.inverted()
    wanted = np.array([inside.transform(axes.transData.transform(end))[1] for end in ends])
    box, figure = axes.get_position(), axes.figure
    # points, about: the layout is made when the figure is drawn
    width, height = 65 * box.width * figure.get_figwidth(), 61 * box.height * figure.get_figheight()
    # those below stay in their order
    places = apart(np.where(wanted < 0, 1e-3 * wanted, wanted), 11.5 / height)
    for one, end, at, place in zip(lines, ends, wanted, places, strict=True):
        colour, name = one.look.get("color", "black"), one.name
        if at < 0:
            name += f" ↓ {end[1]:.3g}"
        else:
            axes.annotate(
                *("", end, (1 + 12 / width, place), "data", "axes fraction"),
                arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.8, "shrinkA": 0},
                annotation_clip=False,
            )
        if one.look.get("marker"):
            key = {"color": colour, "marker": one.look["marker"], "markersize": 4.5}
            axes.plot([1 + 16 / width], [place], transform=axes.transAxes, clip_on=False, **key)
        axes.text(
            *(1 + 22 / width, place, name),
            transform=axes.transAxes,
            **{"va": "center", "fontsize": 8.5},
        )


def _last(axes: Any, one: Line) -> int:
    """The place of the rightmost point with a value."""
    known = np.flatnonzero(np.isfinite(one.y))
    across = one.x[known] * (-1 if axes.xaxis_inverted() else 1)
    return int(known[np.argmax(across)])


def apart(wanted: np.ndarray, gap: float) -> np.ndarray:
    """The places nearest to those wanted that are a gap apart, in the same order.

    Places that would touch form a block around the mean of what they want (isotonic regression).

    Args:
      wanted: heights, [names].
      gap: the least distance.

    Returns:
      Heights, [names].
    """
    order = np.argsort(wanted, kind="stable")
    blocks: list[list[float]] = []
    for rank, place in enumerate(np.asarray(wanted, float)[order]):
        blocks.append([place - rank * gap])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    level = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks])
    found = np.empty(len(order))
    found[order] = level + gap * np.arange(len(order))
    return found


def density_axis(axes: Any, sparsities: Sequence[float], what: str = "weights") -> None:
    """A log axis of what is kept, falling to the right; its ticks say sparsity and what is kept.

    Args:
      axes: whose x values are densities, 1 - sparsity.
      sparsities: of the ticks; those too near to another one get none.
      what: is pruned.
    """
    kept = sorted({1 - sparsity for sparsity in sparsities if sparsity < 1}, reverse=True)
    width = max(np.log(kept[0] / kept[-1]), np.log(2))
    margin = np.exp(0.05 * width)
    axes.set_xscale("log")
    axes.set_xlim(kept[0] * margin, kept[-1] / margin)
    shown = [kept[-1]]
    for one in reversed(kept[:-1]):
        if np.log(one / shown[-1]) >= 0.09 * width:
            shown.append(one)
    axes.set_xticks(shown, [f"{1 - one:.4g}\n{100 * one:.3g} %" for one in shown])
    axes.minorticks_off()
    axes.set_xlabel(f"sparsity, and {what} kept (%, log axis): more is pruned to the right")
