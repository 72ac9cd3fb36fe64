"""The list of long tests names tests that there are, and is made from what pytest measured."""

import re
from pathlib import Path

from tests.support import long_tests

ROOT = Path(__file__).parents[1]


def test_each_exists():
    missing = []
    for name in long_tests.names():
        file, *_, test = name.split("::")
        function = test.split("[")[0]
        path = ROOT / file
        if not path.exists() or not re.search(rf"\bdef {function}\(", path.read_text("utf-8")):
            missing.append(name)
    assert not missing


def test_reports_are_added_up(tmp_path, monkeypatch):
    case = '<testcase classname="tests.a.test_b{}" name="{}" time="{}"/>'
    cases = [
        case.format("", "test_c[1-x.y]", 2.5),
        case.format("", "test_c[2]", 1),
        case.format(".TestMany", "test_d", 4),
    ]
    report, other, chosen = (tmp_path / name for name in ("a.xml", "b.xml", "long.txt"))
    report.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    other.write_text(f"<testsuite>{cases[0]}</testsuite>")
    measured = long_tests.seconds([str(report), str(other)])
    assert measured == {
        "tests/a/test_b.py::test_c[1-x.y]": 5,
        "tests/a/test_b.py::test_c[2]": 1,
        "tests/a/test_b.py::TestMany::test_d": 4,
    }
    monkeypatch.setattr(long_tests, "LIST", chosen)
    monkeypatch.setattr(long_tests, "ALWAYS", {"tests/a/test_b.py::test_e"})
    long_tests.write(measured | {"tests/a/test_b.py::test_e": 9}, 4)
    assert long_tests.names() == {
        "tests/a/test_b.py::test_c[1-x.y]",
        "tests/a/test_b.py::TestMany::test_d",
    }
