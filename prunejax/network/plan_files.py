"""Plans as JSON files."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from prunejax.files import write_atomically
from prunejax.names import listed
from prunejax.network import reading

FORMAT = "prunejax plan 1"


def write(path: str | os.PathLike[str], fingerprint: str, keep: Mapping[str, np.ndarray]) -> Path:
    """Writes which channels stay, in one atomic step.

    Args:
      path: the file; an existing one is replaced.
      fingerprint: of the network, ``Structure.fingerprint``.
      keep: for each group a bool array, [width].

    Returns:
      The path written.

    Raises:
      OSError: the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "network": fingerprint,
        "keep": {
            group: {"width": len(stays), "channels": np.flatnonzero(stays).tolist()}
            for group, stays in keep.items()
        },
    }
    return write_atomically(path, json.dumps(content, indent=1).encode())


def read(
    path: str | os.PathLike[str], fingerprint: str, groups: Collection[str]
) -> dict[str, np.ndarray]:
    """Reads what ``write`` wrote, for the network that it was written for.

    Args:
      path: the file.
      fingerprint: of the network.
      groups: the names of its groups.

    Returns:
      For each group a bool array, [width].

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: the file holds no plan, or one for a network with other paths, shapes or groups.
    """
    held = Path(path).read_bytes()
    try:
        content = reading.parsed(held)
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {str(content['format'])[:40]!r}")
        written_for = content["network"]
        keep = reading.kept(content)
    except reading.DAMAGED as error:
        raise ValueError(f"{path} is damaged or no plan: {_said(error)}") from error
    if set(keep) != set(groups):
        raise ValueError(f"{path} was made for another network: its groups are {listed(keep, 12)}")
    if written_for != fingerprint:
        raise ValueError(
            f"{path} was made for another network: its leaves have other paths or shapes"
        )
    return keep


def _said(error: BaseException) -> str:
    """What an error says, with its class where that says more than a key."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
