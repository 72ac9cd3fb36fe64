"""The zero channels that a shortcut without parameters adds."""

import itertools

from prunejax.models.checks import check_length


def default_pads(stage_widths: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Half of each stage's new channels in front of the old ones, the odd one behind.

    Args:
      stage_widths: the output channels of each stage.

    Returns:
      The channels in front and behind, for every stage but the first.
    """
    added = (after - before for before, after in itertools.pairwise(stage_widths))
    return tuple((new // 2, new - new // 2) for new in added)


def check_pads(pads: tuple[tuple[int, int], ...] | None, stage_widths: tuple[int, ...]) -> None:
    """Requires that zero channels alone bring each stage to the width of the next.

    Args:
      pads: the channels in front and behind, for every stage but the first; None is the default.
      stage_widths: the output channels of each stage.

    Raises:
      ValueError: ``pads`` has another form or does not add up.
    """
    pads = default_pads(stage_widths) if pads is None else pads
    check_length("shortcut_pads", pads, len(stage_widths) - 1, each="stage after the first")
    for position, (before, after) in enumerate(itertools.pairwise(stage_widths)):
        pad = pads[position]
        check_length(f"shortcut_pads[{position}]", pad, 2, each="side")
        if min(pad) < 0 or before + sum(pad) != after:
            raise ValueError(
                f"shortcut='pad' only adds zero channels, but stage {position + 2} has {after} "
                f"channels after {before}, with {pad[0]} in front and {pad[1]} behind"
            )
