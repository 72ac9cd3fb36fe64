"""Names that somebody typed."""

import pytest

from prunejax import names


def test_a_name_that_is_allowed_is_given_back():
    assert names.choose("colour", "red", {"red": 1, "blue": 2}) == "red"


@pytest.mark.parametrize(
    "given, message",
    [
        ("blu", "unknown colour 'blu'; allowed are red, blue; did you mean 'blue'?"),
        ("xyz", "unknown colour 'xyz'; allowed are red, blue"),
        (None, "unknown colour None; allowed are red, blue"),
        (["red"], "unknown colour ['red']; allowed are red, blue; did you mean 'red'?"),
    ],
)
def test_a_name_that_is_not_gets_one_message(given, message):
    with pytest.raises(ValueError) as error:
        names.choose("colour", given, ["red", "blue"])
    assert str(error.value) == message


def test_long_lists_are_cut():
    assert names.listed(map(str, range(100)), most=3) == "0, 1, 2, ..."
    assert names.listed([]) == "none"
    with pytest.raises(ValueError, match=r"allowed are layer0, .*layer29, \.\.\.; did you mean"):
        names.choose("layer", "layerr77", [f"layer{number}" for number in range(100)])
