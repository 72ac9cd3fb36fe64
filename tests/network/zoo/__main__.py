"""Prints the shares as Markdown: ``python -m tests.network.zoo [--write before|after] [NAME...]``.

``--write`` also stores what was measured, in the column named.
"""

import argparse
import importlib.util
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

from tests.network.zoo import checking, measuring, shares
from tests.network.zoo.entry import Entry
from tests.network.zoo.networks import NETWORKS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.network.zoo")
    parser.add_argument("--write", choices=("before", "after"))
    parser.add_argument("names", nargs="*", help="networks; all of them if none is named")
    given = parser.parse_args()
    stored = shares.read()
    kept = {name: stored.get(name, {"before": None, "after": None}) for name in NETWORKS}
    print("| network | kind | package | channels | free | before | after | what stays |")
    print("|---|---|---|---|---|---|---|---|")
    for name in given.names or NETWORKS:
        entry = NETWORKS[name]
        if entry.package and importlib.util.find_spec(entry.package) is None:
            print(f"| {name} | {entry.kind} | {entry.package} | not installed |")
            continue
        free, total, share = _measure(entry)
        if given.write:
            kept[name] = kept[name] | {given.write: share}
        before, after = (_percent(kept[name][column]) for column in ("before", "after"))
        print(
            f"| {name} | {entry.kind} | {entry.package} | {total} | {free} | {before} | {after} "
            f"| {entry.reason} |",
            flush=True,
        )
    if given.write:
        shares.write(kept)


def _measure(entry: Entry) -> tuple[int, int, float]:
    with checking.precision(entry):
        built = entry.build()
        network = measuring.quietly(built.apply_fn, built.variables, built.x)
        return *measuring.measured(network, entry), measuring.share(network, entry)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


main()
