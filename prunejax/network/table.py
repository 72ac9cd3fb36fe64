"""A network as a table of text."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prunejax.network.network import Network

HEADINGS = ("layer", "kind", "from", "output", "parameters", "multiply-adds", "details", "channels")
RIGHT = ("parameters", "multiply-adds")


def render(network: "Network") -> str:
    """One row a layer, then the channel groups' widths and the totals.

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
    lines = [
        "  ".join(
            cell.rjust(width) if heading in RIGHT else cell.ljust(width)
            for cell, width, heading in zip(row, widths, HEADINGS, strict=True)
        ).rstrip()
        for row in rows
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines.append(
        f"{len(network.layers)} layers, {cost.parameters:,} parameters, {cost.multiply_adds:,} "
        f"multiply-adds, {len(network.groups)} groups of channels that can be removed"
    )
    if network.unknown:
        lines.append(f"frozen by unknown primitives: {', '.join(network.unknown)}")
    return "\n".join(lines)


def _through(network: "Network", layer: Any) -> list[str]:
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
    if layer.groups != 1:
        words.append(f"{layer.groups} groups")
    if layer.window:
        words.append(f"window {'x'.join(str(size) for size in layer.window if size > 1) or 1}")
    if layer.note:
        words.append(f"multiply-adds of {'the ' * ('branch' in layer.note)}{layer.note}")
    return ", ".join(words)
