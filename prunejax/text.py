"""Tables of text that are no wider than the screen."""

from collections.abc import Sequence


def blocks(widths: Sequence[int], limit: int, *, between: int = 2) -> list[tuple[int, ...]]:
    """Which columns of a table stand side by side, the first one in every part.

    Args:
      widths: of the columns, in characters.
      limit: how wide a part may be; a single column that is wider has a part of its own.
      between: characters between two columns.

    Returns:
      The columns of each part, in order.

    >>> blocks([10, 8, 8, 8], 30)
    [(0, 1, 2), (0, 3)]
    """
    parts: list[list[int]] = []
    taken = limit
    for position in range(1, len(widths)):
        needed = between + widths[position]
        if taken + needed > limit:
            parts.append([0])
            taken = widths[0]
        parts[-1].append(position)
        taken += needed
    return [tuple(part) for part in parts] or [(0,)]
