"""Figures drawn without a display: one look for a method everywhere, one width for the page.

A page shows a figure ``WIDTH`` inches wide, so that its text is read at the size it is drawn at.
"""

import textwrap
from collections.abc import Iterable
from itertools import count
from typing import Any
from zlib import crc32

from experiments.common.methods import NAMES
from experiments.common.outputs import Place
from experiments.common.protocol import DENSE

WIDTH = 7.0
"""Of every figure, in inches."""

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#6A3D9A")
"""Okabe and Ito's, which people who are colour blind can tell apart; violet for the pale yellow."""

MARKS = ("o", "s", "^", "D", "v", "P", "X", "p")
OTHER_MARKS = ("<", ">", "h", "*")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (6, 2, 1, 2)), (0, (1.5, 1.5)))

GROWTH_IN = {"random": "set", "gradient": "rigl", "none": "gmp"}
"""Rules of growth -> the method that uses them: they look alike."""

CRITICALITY = {"color": COLOURS[2], "marker": "o", "linestyle": "-"}
"""The look of the rule of growth that no method of ``NAMES`` uses."""

TEXT: dict[Any, float] = {
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "legend.fontsize": 8.5,
    "legend.title_fontsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "lines.linewidth": 1.5,
    "lines.markersize": 5.0,
    "hatch.linewidth": 0.5,
}
"""Sizes in points: nothing smaller than 8."""


def look(position: int) -> dict[str, Any]:
    """Colour, mark and dash of the series in a place: 32 of them differ in mark and dash."""
    return {
        "color": COLOURS[position % len(COLOURS)],
        "marker": MARKS[position % len(MARKS)],
        "linestyle": DASHES[(position + position // len(MARKS)) % len(DASHES)],
    }


def styles(methods: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The looks of the methods of one figure.

    A method of ``NAMES`` always has the look of its place there. A name from outside, such as that
    of a criterion in a file, has a mark that no method has; its name alone chooses it, unless
    another name of the figure has chosen the same.

    Args:
      methods: names.

    Returns:
      Name -> what to give to matplotlib's ``plot``: colour, mark, dash.
    """
    methods = list(methods)
    found, names, taken = {}, list(NAMES), set()
    known = [name for name in {*methods} if name in NAMES]
    used = {look(names.index(name))["color"] for name in known}
    free = [colour for colour in COLOURS if colour not in used]
    for name in in_order(methods):
        if name == DENSE:
            found[name] = {"color": "black", "marker": "", "linestyle": (0, (1, 1.5))}
        elif name in NAMES:
            found[name] = look(names.index(name))
        else:
            places = len(OTHER_MARKS) * len(DASHES)
            first = crc32(name.encode())
            tried = ((first + step) % places for step in range(places))
            place = next((one for one in tried if one not in taken), first % places)
            taken.add(place)
            dash, mark = divmod(place, len(OTHER_MARKS))
            found[name] = {
                "color": free.pop(0) if free else COLOURS[place % len(COLOURS)],
                "marker": OTHER_MARKS[mark],
                "linestyle": DASHES[dash],
            }
    return found


def style(method: str) -> dict[str, Any]:
    """The look of a method alone in a figure."""
    return styles([method])[method]


def growth_styles(rules: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The looks of rules of growth: those of the methods that they make, where there is one."""
    methods = {rule: GROWTH_IN.get(rule, rule) for rule in rules}
    found = styles(methods.values()) | {"criticality": CRITICALITY}
    return {rule: found[method] for rule, method in methods.items()}


def in_order(methods: Iterable[str]) -> list[str]:
    """ "dense" first, methods in the order of ``NAMES``, then those from outside."""
    places = {name: place for place, name in enumerate((DENSE, *NAMES))}
    return sorted(set(methods), key=lambda name: (places.get(name, len(places)), name))


def canvas(panels: int, *, height: float = 4.0, columns: int = 0, **options: Any) -> Any:
    """A figure of the page's width with some axes, drawn without a display.

    Args:
      panels: how many.
      height: of the figure, in inches.
      columns: of panels; 0 for all side by side.
      **options: for ``pyplot.subplots``.

    Returns:
      The figure and its axes, row by row; places that no panel fills are left out.
    """
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams.update(TEXT)
    from matplotlib import pyplot

    columns = columns or panels
    shape = -(-panels // columns), columns
    drawn, axes = pyplot.subplots(
        *shape, figsize=(WIDTH, height), layout="constrained", squeeze=False, **options
    )
    for place, one in zip(count(), axes.flat, strict=False):
        one.grid(color="0.9", linewidth=0.8)
        one.set_axisbelow(True)
        one.spines[["top", "right"]].set_visible(False)
        if place >= panels:
            one.remove()
    return drawn, axes.ravel()[:panels]


def legend(drawn: Any, axes: Any, *, title: str = "") -> None:
    """One legend for all panels, below them; a series that is drawn twice stands there once."""
    handles: dict[str, Any] = {}
    for one in axes:
        for handle, name in zip(*one.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    widths = [5 * len(name) + 48 for name in handles]  # points, about
    columns = len(widths) if sum(widths) < 72 * WIDTH else int(72 * WIDTH / max(widths))
    drawn.legend(
        list(handles.values()),
        list(handles),
        loc="outside lower center",
        ncols=max(1, columns),
        title=title or None,
        frameon=False,
        handlelength=3.2,
    )


def plain_log(axis: Any) -> None:
    """Ticks of a log axis at 1, 2 and 5 times powers of ten, in plain numbers."""
    from matplotlib import ticker

    axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axis.set_minor_formatter(ticker.NullFormatter())


def save_figure(drawn: Any, place: Place, title: str, settings: str = "") -> None:
    """Writes a figure in the formats asked for, and lets it go.

    Args:
      drawn: the figure.
      place: where it goes.
      title: one short sentence: what the figure shows.
      settings: what stands below it in smaller letters: the network, what bands are.
    """
    from matplotlib import pyplot
    from matplotlib.transforms import ScaledTranslation

    above = textwrap.wrap(title, 88)
    below = textwrap.wrap(settings, 112)
    # the space of all lines is that of a title of as many
    drawn.suptitle(
        "\n".join(above + [""] * len(below)), fontsize=10.5, x=0.01, ha="left", linespacing=1.25
    )
    top = ScaledTranslation(0, -(5 + 13.6 * len(above)) / 72, drawn.dpi_scale_trans)
    drawn.text(
        *(0.01, 1, "\n".join(below)),
        transform=drawn.transFigure + top,
        **{"va": "top", "fontsize": 8.5, "color": "0.3", "linespacing": 1.25},
    )
    place.save(drawn)
    pyplot.close(drawn)
