"""Figures drawn without a display, the same colours and marks for the same methods everywhere."""

from collections.abc import Iterable
from typing import Any

from experiments.common.methods import NAMES
from experiments.common.outputs import Place
from experiments.common.protocol import DENSE

COLOURS = 20
"""As many as matplotlib's palette "tab20" has; then the marks change."""

MARKS = ("o", "s", "^", "D")


def style(method: str) -> dict[str, Any]:
    """Colour and mark of a method, by its place in ``NAMES``."""
    import matplotlib

    names = list(NAMES)
    index = names.index(method) if method in names else len(names)
    palette = matplotlib.colormaps["tab20"]
    # its colours come in pairs, a dark and a light one: the dark ones first
    colour = (2 * index) % COLOURS + (index % COLOURS >= COLOURS // 2)
    return {"color": palette(colour), "marker": MARKS[index // COLOURS % len(MARKS)]}


def in_order(methods: Iterable[str]) -> list[str]:
    """ "dense" first, methods in the order of ``NAMES``, then those from outside."""
    places = {name: place for place, name in enumerate((DENSE, *NAMES))}
    return sorted(set(methods), key=lambda name: (places.get(name, len(places)), name))


def canvas(panels: int, *, height: float = 4.5) -> tuple[Any, Any]:
    """A figure with some axes side by side, drawn without a display."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    drawn, axes = pyplot.subplots(
        1, panels, figsize=(max(7, 4.5 * panels), height), layout="constrained", squeeze=False
    )
    for one in axes[0]:
        one.grid(alpha=0.3)
    return drawn, axes[0]


def save_figure(drawn: Any, place: Place, title: str) -> None:
    """Writes a figure in the formats asked for, and lets it go."""
    from matplotlib import pyplot

    drawn.suptitle(title, fontsize="medium")
    place.save(drawn)
    pyplot.close(drawn)
