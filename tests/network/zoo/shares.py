"""The committed shares: how much of each network could go before, and can go after."""

import json
from pathlib import Path

FILE = Path(__file__).with_name("shares.json")


def read() -> dict[str, dict[str, float | None]]:
    """For each network "before" and "after"; None where it was not measured."""
    return json.loads(FILE.read_text()) if FILE.exists() else {}


def write(shares: dict[str, dict[str, float | None]]) -> None:
    lines = [f"  {json.dumps(name)}: {json.dumps(share)}" for name, share in shares.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def latest(name: str) -> float | None:
    """What the code of now must give."""
    share = read()[name]
    return share["before"] if share["after"] is None else share["after"]
