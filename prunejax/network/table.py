"""A network as a table of text."""

import shutil
import textwrap
from typing import Any

from prunejax.names import listed
from prunejax.network.staying import percent
from prunejax.network.structure import Structure
from prunejax.text import blocks

HEADINGS = ("layer", "kind", "from", "output", "parameters", "multiply-adds", "details", "channels")
RIGHT = ("parameters", "multiply-adds")


def render(network: Structure) -> str:
    """One row per layer, then the totals.

    Where the screen is too narrow for all columns (80 characters where there is none; the variable
    ``COLUMNS`` says otherwise), the others stand in a second table below, again beside the layers'
    names.

    Args:
      network: the network.

    Returns:
      Lines of text.
    """
    cost = network.cost()
    produced: dict[str, list[str]] = {}
    for group in network.groups.values():
        for layer in group.layers:
            produced.setdefault(layer, []).append(f"{group.name} ({group.width})")
    rows: list[tuple[str, ...]] = [HEADINGS]
    for layer, price in zip(network.layers.values(), cost.layers, strict=True):
        rows.append(
            (
                layer.name,
                layer.kind,
                ", ".join(layer.inputs),
                "x".join(map(str, layer.output_shape)),
                f"{price.parameters:,}" if price.parameters else "",
                f"{price.multiply_adds:,}" if price.multiply_adds else "",
                _details(layer),
                ", ".join(produced.get(layer.name, _through(network, layer))),
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    screen = shutil.get_terminal_size().columns
    for columns in blocks(widths, screen):
        part = [_line(row, widths, columns) for row in rows]
        part.insert(1, "  ".join("-" * widths[position] for position in columns))
        lines += ["", *part] if lines else part
    groups = "group" if len(network.groups) == 1 else "groups"
    words = [
        f"{len(network.layers)} layers, {cost.parameters:,} parameters, {cost.multiply_adds:,} "
        f"multiply-adds, {len(network.groups)} {groups} of channels that can be removed"
    ]
    words += _stay(network)
    for sentence in words:
        lines += textwrap.wrap(sentence, screen)
    return "\n".join(lines)


def _stay(network: Structure) -> list[str]:
    """What stays whole: its share, then a sentence for each reason."""
    left = network.staying
    words = []
    if left.channels > left.free:
        words.append(
            f"{left}, and with none of the others go "
            f"{percent(left.stuck, left.parameters)} of the parameters:"
        )
    for reason, layers in left.by_reason().items():
        named = listed([f"{layer} ({count})" for layer, count in layers.items()], 6)
        words.append(f"- {named} {reason}")
    return words


def _line(row: tuple[str, ...], widths: list[int], columns: tuple[int, ...]) -> str:
    """Some cells of a row, numbers to the right."""
    return "  ".join(
        row[position].rjust(widths[position])
        if HEADINGS[position] in RIGHT
        else row[position].ljust(widths[position])
        for position in columns
    ).rstrip()


def _through(network: Structure, layer: Any) -> list[str]:
    """The groups that go through a product of parameters, which makes no channels itself."""
    if layer.kind != "parameters":
        return []
    return [
        f"{group.name} ({group.width})"
        for group in network.groups.values()
        if any(member.path in layer.parameters for member in group.members)
    ]


def _details(layer: Any) -> str:
    words = []
    if layer.kernel_shape:
        words.append("x".join(map(str, layer.kernel_shape)))
    if any(stride != 1 for stride in layer.strides):
        words.append(f"stride {'x'.join(map(str, layer.strides))}")
    if any(tap != 1 for tap in layer.dilation):
        words.append(f"dilation {'x'.join(map(str, layer.dilation))}")
    if layer.feature_groups != 1:
        words.append(f"{layer.feature_groups} groups")
    if layer.window:
        words.append(f"window {'x'.join(str(size) for size in layer.window if size > 1) or 1}")
    if layer.note:
        words.append(f"multiply-adds of {'the ' * ('branch' in layer.note)}{layer.note}")
    return ", ".join(words)
