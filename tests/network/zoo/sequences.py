"""State spaces, linear recurrences, operators in frequencies, equations in time, and spikes."""

import functools

import jax
import jax.numpy as jnp

from tests.network.zoo.entry import Entry, function, image
from tests.network.zoo.language import rms
from tests.support.slicing_checks import randomise

WIDTH, INNER, STATE, RANK = 6, 8, 4, 3


def mamba(variables, x):
    """Selective state spaces: step sizes, inputs and outputs of the state depend on the input."""
    x = x @ variables["embed"]
    for layer in variables["layers"]:
        u, gate = jnp.split(rms(x, layer["norm"]) @ layer["in"], 2, axis=-1)
        u = jax.lax.conv_general_dilated(
            u,
            layer["conv"],
            (1,),
            [(2, 0)],
            dimension_numbers=("NWC", "WIO", "NWC"),
            feature_group_count=u.shape[-1],
        )
        u = jax.nn.silu(u + layer["conv_bias"])
        low, b, c = jnp.split(u @ layer["select"], [RANK, RANK + STATE], axis=-1)
        step = jax.nn.softplus(low @ layer["step"] + layer["step_bias"])
        decay = jnp.exp(step[..., None] * -jnp.exp(layer["a_log"]))
        driven = (step * u)[..., None] * b[..., None, :]

        def advance(state, given):
            decay, driven, c = given
            state = decay * state + driven
            return state, jnp.einsum("bdn,bn->bd", state, c)

        given = tuple(jnp.moveaxis(t, 1, 0) for t in (decay, driven, c))
        _, y = jax.lax.scan(advance, jnp.zeros_like(driven[:, 0]), given)
        y = jnp.moveaxis(y, 0, 1) + layer["skip"] * u
        x = x + (y * jax.nn.silu(gate)) @ layer["out"]
    return rms(x, variables["norm"]) @ variables["head"]


MAMBA_LAYER = {
    "norm": (WIDTH,),
    "in": (WIDTH, 2 * INNER),
    "conv": (3, 1, INNER),
    "conv_bias": (INNER,),
    "select": (INNER, RANK + 2 * STATE),
    "step": (RANK, INNER),
    "step_bias": (INNER,),
    "a_log": (INNER, STATE),
    "skip": (INNER,),
    "out": (INNER, WIDTH),
}
MAMBA = {
    "embed": (3, WIDTH),
    "layers": [MAMBA_LAYER, MAMBA_LAYER],
    "norm": (WIDTH,),
    "head": (WIDTH, 4),
}


def s4(variables, x):
    """Diagonal state spaces as long convolutions, by the Fourier transform along time."""
    length = x.shape[1]
    x = x @ variables["embed"]
    for layer in variables["layers"]:
        step = jnp.exp(layer["log_step"])[:, None]
        poles = step * jax.lax.complex(-jnp.exp(layer["log_real"]), layer["imaginary"])
        powers = jnp.exp(poles[..., None] * jnp.arange(length))
        weights = jax.lax.complex(layer["c_real"], layer["c_imaginary"])
        kernel = 2 * jnp.einsum("dn,dnl->ld", weights, powers).real
        u = rms(x, layer["norm"])
        spectrum = jnp.fft.rfft(u, n=2 * length, axis=1) * jnp.fft.rfft(kernel, 2 * length, axis=0)
        y = jnp.fft.irfft(spectrum, n=2 * length, axis=1)[:, :length] + layer["skip"] * u
        value, gate = jnp.split(jax.nn.gelu(y) @ layer["out"], 2, axis=-1)
        x = x + value * jax.nn.sigmoid(gate)
    return x.mean(axis=1) @ variables["head"]


S4_LAYER = {
    "norm": (WIDTH,),
    "log_step": (WIDTH,),
    **dict.fromkeys(("log_real", "imaginary", "c_real", "c_imaginary"), (WIDTH, STATE)),
    "skip": (WIDTH,),
    "out": (WIDTH, 2 * WIDTH),
}
S4 = {"embed": (3, WIDTH), "layers": [S4_LAYER, S4_LAYER], "head": (WIDTH, 4)}


def griffin(variables, x):
    """Gated linear recurrences by an associative scan over time."""

    def combine(earlier, later):
        return earlier[0] * later[0], earlier[1] * later[0] + later[1]

    x = x @ variables["embed"]
    for layer in variables["layers"]:
        y = rms(x, layer["norm"])
        u, gate = y @ layer["in"], jax.nn.gelu(y @ layer["gate"])
        open_, forget = jax.nn.sigmoid(u @ layer["open"]), jax.nn.sigmoid(u @ layer["forget"])
        decay = jnp.exp(-8 * forget * jax.nn.softplus(layer["decay"]))
        driven = jnp.sqrt(1 - decay**2) * open_ * u
        _, state = jax.lax.associative_scan(combine, (decay, driven), axis=1)
        x = x + (state * gate) @ layer["out"]
        y = rms(x, layer["norm2"])
        x = x + (jax.nn.gelu(y @ layer["wide"]) * (y @ layer["up"])) @ layer["down"]
    return x @ variables["head"]


GRIFFIN_LAYER = {
    **dict.fromkeys(("norm", "norm2"), (WIDTH,)),
    **dict.fromkeys(("in", "gate"), (WIDTH, INNER)),
    **dict.fromkeys(("open", "forget"), (INNER, INNER)),
    "decay": (INNER,),
    "out": (INNER, WIDTH),
    **dict.fromkeys(("wide", "up"), (WIDTH, 9)),
    "down": (9, WIDTH),
}
GRIFFIN = {"embed": (3, WIDTH), "layers": [GRIFFIN_LAYER, GRIFFIN_LAYER], "head": (WIDTH, 4)}


def fourier(variables, x):
    """A Fourier neural operator: the lowest frequencies are mixed by complex kernels."""
    height, width = x.shape[1:3]
    x = x @ variables["lift"]
    for layer in variables["layers"]:
        modes = layer["spectral"].shape[:2]
        low = jnp.fft.rfft2(x, axes=(1, 2))[:, : modes[0], : modes[1]]
        mixed = jnp.einsum("bxyi,xyio->bxyo", low, layer["spectral"])
        pads = [(0, 0), (0, height - modes[0]), (0, width // 2 + 1 - modes[1]), (0, 0)]
        back = jnp.fft.irfft2(jnp.pad(mixed, pads), s=(height, width), axes=(1, 2))
        x = jax.nn.gelu(back + x @ layer["local"] + layer["bias"])
    return jax.nn.gelu(x @ variables["project"]) @ variables["last"]


def fourier_built():
    real = function(
        fourier,
        {
            "lift": (3, 6),
            "layers": [{"local": (6, 6), "bias": (6,)} for _ in range(2)],
            "project": (6, 9),
            "last": (9, 2),
        },
        image(2, 6, 6, 3),
    )
    drawn = randomise([jax.ShapeDtypeStruct((2, 2, 2, 6, 6), jnp.float32)] * 2)
    for layer, (first, second) in zip(real.variables["layers"], drawn, strict=True):
        layer["spectral"] = jax.lax.complex(first, second)
    return real


def ode(variables, x):
    """The flow of a vector field, by ten steps of Runge and Kutta."""

    def field(x):
        return jnp.tanh(x @ variables["up"] + variables["bias"]) @ variables["down"]

    def step(x, _):
        size = 0.1
        k1 = field(x)
        k2 = field(x + size / 2 * k1)
        k3 = field(x + size / 2 * k2)
        k4 = field(x + size * k3)
        return x + size / 6 * (k1 + 2 * k2 + 2 * k3 + k4), None

    x, _ = jax.lax.scan(step, jax.nn.relu(x @ variables["first"]), None, length=10)
    return x @ variables["last"]


ODE = {"first": (5, 8), "up": (8, 10), "bias": (10,), "down": (10, 8), "last": (8, 4)}


@jax.custom_jvp
def spike(voltage):
    return (voltage > 0).astype(voltage.dtype)


@spike.defjvp
def _spike_jvp(primals, tangents):
    (voltage,), (change,) = primals, tangents
    return spike(voltage), change / (1 + 5 * jnp.abs(voltage)) ** 2


def spiking(variables, x, scanned):
    """Two layers of leaky neurons over time; what they spiked in all decides."""
    weights = variables["first"], variables["second"]
    voltages = tuple(jnp.zeros((len(x), w.shape[1])) for w in weights)

    def step(voltages, x):
        after = []
        for voltage, w, leak in zip(voltages, weights, variables["leaks"], strict=True):
            voltage = voltage * jax.nn.sigmoid(leak) + x @ w
            x = spike(voltage - 0.5)
            after.append(voltage - 0.5 * jax.lax.stop_gradient(x))
        return tuple(after), x @ variables["last"]

    if scanned:
        _, out = jax.lax.scan(step, voltages, jnp.swapaxes(x, 0, 1))
        return out.sum(axis=0)
    total = 0.0
    for time in range(x.shape[1]):
        voltages, out = step(voltages, x[:, time])
        total = total + out
    return total


SPIKING = {"first": (5, 8), "second": (8, 7), "leaks": [(8,), (7,)], "last": (7, 4)}


def entry(name, build, channels=None, returned=4, **details):
    return Entry(name, "sequences", build, returned=returned, channels=channels, **details)


SERIES = image(2, 6, 3)
SPIKES = jnp.abs(image(2, 4, 5)) * 2

ENTRIES = (
    entry("mamba", lambda: function(mamba, MAMBA, SERIES)),
    entry("s4", lambda: function(s4, S4, SERIES)),
    entry("griffin", lambda: function(griffin, GRIFFIN, SERIES)),
    entry("fourier_operator", fourier_built, returned=2),
    entry("neural_ode", lambda: function(ode, ODE, image(3, 5)), 8 + 10 + 8 + 4, quick=True),
    *(
        entry(
            f"spiking_{name}",
            lambda scanned=scanned: function(
                functools.partial(spiking, scanned=scanned), SPIKING, SPIKES
            ),
            8 + 7 + 4,
        )
        for name, scanned in (("scanned", True), ("unrolled", False))
    ),
)
