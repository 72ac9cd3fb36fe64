"""Why channels stay: the operation, its shape, the line; shares; the table and the warning."""

import inspect

import jax
import jax.numpy as jnp
import pytest

from prunejax.network import trace

VARIABLES = {"a": jnp.ones((3, 8)), "b": jnp.ones((8, 4)), "c": jnp.ones((4, 2))}
X = jnp.ones((2, 3))


def sorted_units(v, x):
    return jax.nn.relu(jnp.sort(x @ v["a"], axis=-1) @ v["b"]) @ v["c"]


LINE = inspect.getsourcelines(sorted_units)[1] + 1


def test_the_operation_and_the_line_are_named():
    with pytest.warns(UserWarning, match=r"8 of 12 channels stay whole \(67 %\).* sorts them"):
        network = trace(sorted_units, VARIABLES, X)
    first, last = network.frozen()
    assert (first.layer, first.width, first.channels.tolist()) == ("a", 8, list(range(8)))
    assert (first.operation, first.shape) == ("sort", (2, 8))
    assert first.source == f"network/test_frozen.py:{LINE}"
    assert not first.returned
    assert (last.layer, last.width, last.returned) == ("c", 2, True)
    assert str(first) == (
        f"a: all 8 stay, because sort of 2x8 (network/test_frozen.py:{LINE}) sorts them"
    )
    assert str(last) == "c: all 2 stay, because they are what the network returns"


def test_shares_leave_out_what_is_returned():
    with pytest.warns(UserWarning, match="stay whole"):
        staying = trace(sorted_units, VARIABLES, X).staying
    assert (staying.free, staying.channels) == (4, 12)
    assert staying.share == pytest.approx(1 / 3)
    # a's 24 weights go with nothing; of b and c all go with one of its four units
    assert (staying.stuck, staying.parameters) == (24, 24 + 32 + 8)


def test_the_table_ends_with_the_reasons(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.warns(UserWarning, match="stay whole"):
        text = str(trace(sorted_units, VARIABLES, X))
    assert max(map(len, text.splitlines())) <= 80
    ending = " ".join(text.split("\n")[-5:])
    assert "8 of 12 channels stay whole (67 %)" in ending
    assert "38 % of the parameters" in ending
    assert f"- a (8) because sort of 2x8 (network/test_frozen.py:{LINE}) sorts them" in ending


def test_no_warning_where_a_tenth_stays():
    def forward(v, x):
        h = jax.nn.relu(x @ v["a"])
        return (h + h[:, :1]) @ v["b"]

    variables = {"a": jnp.ones((3, 20)), "b": jnp.ones((20, 2))}
    (first, _) = trace(forward, variables, X).frozen()
    assert first.channels.tolist() == [0]
    assert first.why == "reads it on its own"


def test_a_network_without_channels_says_why():
    def forward(v, x):
        return jnp.cumsum(x @ v["a"], axis=-1) @ v["b"]

    with pytest.warns(UserWarning, match="no channel .* a: all 8 stay, because cumsum of 2x8"):
        trace(forward, {"a": VARIABLES["a"], "b": VARIABLES["b"]}, X)


def test_what_only_goes_together_stays():
    """Each of eight channels is added to the third one after it."""

    def forward(v, x):
        h = x @ v["a"]
        return (h + jnp.roll(h, 3, axis=-1)) @ v["b"]

    with pytest.warns(UserWarning, match="none goes without the others"):
        network = trace(forward, {"a": VARIABLES["a"], "b": VARIABLES["b"]}, X)
    assert network.groups == {}


@pytest.mark.parametrize(
    ("function", "operation"),
    [
        (lambda h: jnp.cumsum(h, axis=-1), "cumsum"),
        (lambda h: jnp.fft.fft(h).real, "fft"),
        (lambda h: h * h.argmax(-1, keepdims=True).astype(h.dtype), "argmax"),
        (lambda h: jax.lax.map(lambda row: row + 1, h.T).T, "scan"),
        (lambda h: jnp.linalg.cholesky(h.T @ h + jnp.eye(8))[:2], "cholesky"),
        (lambda h: h / h, "div"),
    ],
)
@pytest.mark.filterwarnings("ignore:no rule for|no channel of this network")
def test_each_kind_of_need_is_named(function, operation):
    network = trace(lambda v, x: function(x @ v["a"]) @ v["b"], VARIABLES, X)
    reasons = [each.operation for each in network.frozen() if not each.returned]
    assert operation in reasons
