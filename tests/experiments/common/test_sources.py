"""Digests of code: what changes them and what does not."""

import functools

import pytest

from experiments.common import sources
from experiments.common.methods import NAMES, settings
from prunejax.criteria import magnitude, snip

SOURCE = '''"""A module."""

import math  # for pi


def area(radius):
    """Of a circle.

    Args: radius.
    """
    # a comment
    note = f"{radius!r} and {math.pi:.2f}"

    return math.pi * radius ** 2
'''


@pytest.mark.parametrize(
    "old, new",
    [
        ("    # a comment\n", ""),
        ("    # a comment\n", "    # another\n\n\n"),
        ("Of a circle.", "Of a disc."),
        ("  # for pi", ""),
        ("radius ** 2", "radius**2"),
    ],
)
def test_explanations_do_not_count(old, new):
    assert old in SOURCE
    assert sources.code_of(SOURCE.replace(old, new)) == sources.code_of(SOURCE)


@pytest.mark.parametrize(
    "old, new",
    [
        ("** 2", "** 3"),
        ("math.pi:.2f", "math.pi:.3f"),
        ("    return", "    return -"),
        (" and ", ""),
    ],
)
def test_code_counts(old, new):
    assert old in SOURCE
    assert sources.code_of(SOURCE.replace(old, new)) != sources.code_of(SOURCE)


def test_where_a_line_belongs_counts():
    loop = "for a in b:\n    x()\n    y()\n"
    assert sources.code_of(loop) != sources.code_of(loop.replace("    y", "y"))
    choice = "if a:\n    if b:\n        c\n    else:\n        d\n"
    other = "if a:\n    if b:\n        c\nelse:\n    d\n"
    assert sources.code_of(choice) != sources.code_of(other)


def test_a_digest_is_of_the_functions_own_file():
    assert sources.digest(snip) == sources.digest(functools.partial(snip, key=None))
    assert (
        len({sources.digest(snip), sources.digest(magnitude), sources.digest(snip, magnitude)}) == 3
    )
    assert len(sources.digest(snip)) == 8


def test_every_method_has_a_digest_and_settings_tell_methods_apart():
    of_each = {name: settings(name) for name in NAMES}
    assert all(len(one["source"]) == 8 for one in of_each.values())
    assert len({repr(sorted(one.items())) for one in of_each.values()}) == len(NAMES)
