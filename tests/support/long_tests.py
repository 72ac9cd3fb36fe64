"""Which tests are long: ``long.txt`` names them, ``make test`` leaves them to ``make test-slow``.

    pytest -n 2 --dist loadfile -m "not slow" --junitxml=all.xml
    python -m tests.support.long_tests all.xml --seconds 1.2

writes the list again from what pytest measured, and says what is left for ``make test``.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

LIST = Path(__file__).parents[1] / "long.txt"


ALWAYS = frozenset(("tests/network/test_random_programs.py::test_random_programs",))
"""What ``make test`` runs however long it takes: what finds most of all for its time."""


def names() -> frozenset[str]:
    """The tests that ``long.txt`` names, as pytest does."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def seconds(reports: Iterable[str]) -> dict[str, float]:
    """Seconds of each test that reports in JUnit's format hold.

    Args:
      reports: their files.

    Returns:
      The seconds by pytest's name of the test.
    """
    found: dict[str, float] = {}
    for report in reports:
        for case in ElementTree.parse(report).iter("testcase"):
            parts = case.attrib["classname"].split(".")
            classes = [part for part in parts if part[0].isupper()]
            file = "/".join(parts[: len(parts) - len(classes)]) + ".py"
            name = "::".join([file, *classes, case.attrib["name"]])
            found[name] = found.get(name, 0) + float(case.attrib["time"])
    return found


def write(measured: dict[str, float], least: float) -> None:
    """Writes the list.

    Args:
      measured: seconds by test.
      least: from so many seconds on a test is long.
    """
    long = {name for name, taken in measured.items() if taken >= least}
    chosen = sorted(long - ALWAYS)
    head = f"# Tests of {least:g} s and more; written by tests/support/long_tests.py"
    LIST.write_text("\n".join([head, *chosen, ""]), encoding="utf-8")


def main() -> None:
    """Writes the list from reports."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.long_tests")
    parser.add_argument("reports", nargs="+")
    parser.add_argument("--seconds", type=float, default=1.2)
    given = parser.parse_args()
    measured = seconds(given.reports)
    write(measured, given.seconds)
    chosen = names()
    left = [taken for name, taken in measured.items() if name not in chosen]
    print(f"{len(measured) - len(left)} long tests; {len(left)} are left, {sum(left):.0f} s in all")


if __name__ == "__main__":
    main()
