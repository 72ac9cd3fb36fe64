"""Convolutional networks with operations of their own: shuffles, blurs, standardised kernels."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from tests.network.zoo.entry import Entry, function, image, linen


def conv(x, kernel, groups=1, strides=1, dilation=1, padding="SAME"):
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (strides, strides),
        padding,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


class UNet(nn.Module):
    @nn.compact
    def __call__(self, x):
        def double(x, width):
            for _ in range(2):
                x = nn.relu(nn.Conv(width, (3, 3))(x))
            return x

        skips = []
        for width in (4, 6):
            x = double(x, width)
            skips.append(x)
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = double(x, 8)
        for width, skip in zip((6, 4), reversed(skips), strict=True):
            x = nn.ConvTranspose(width, (2, 2), strides=(2, 2))(x)
            x = double(jnp.concatenate([skip, x], axis=-1), width)
        return nn.Conv(2, (1, 1))(x)


def shuffled_as_torch(x, factor):
    """Channels are split into [channel, factor, factor]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, channels // factor**2, factor, factor)
    x = x.transpose(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, factor * height, factor * width, channels // factor**2)


def shuffled_as_tensorflow(x, factor):
    """Channels are split into [factor, factor, channel]."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, factor, factor, channels // factor**2)
    x = x.transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, factor * height, factor * width, channels // factor**2)


class SuperResolution(nn.Module):
    """ESPCN, with two steps of upsampling."""

    shuffle: object

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Conv(6, (3, 3))(x))
        for width in (5, 4):
            x = nn.tanh(self.shuffle(nn.Conv(4 * width, (3, 3))(x), 2))
        return nn.Conv(3, (3, 3))(x)


class Maxout(nn.Module):
    @nn.compact
    def __call__(self, x):
        for width in (6, 8):
            x = nn.Conv(2 * width, (3, 3))(x)
            x = x.reshape(*x.shape[:-1], width, 2).max(axis=-1)
        x = nn.Dense(3 * 10)(x.mean(axis=(1, 2)))
        return nn.Dense(4)(x.reshape(len(x), 10, 3).max(axis=-1))


BLUR = (np.outer([1, 2, 1], [1, 2, 1]) / 16).astype(np.float32)[:, :, None, None]


class BlurPool(nn.Module):
    """Strided by a fixed filter that is repeated over the channels."""

    @nn.compact
    def __call__(self, x):
        for width in (6, 8):
            x = nn.relu(nn.Conv(width, (3, 3))(x))
            x = conv(x, jnp.tile(BLUR, (1, 1, 1, width)), groups=width, strides=2)
        return nn.Dense(4)(x.mean(axis=(1, 2)))


class Standardised(nn.Module):
    """A convolution by a kernel of mean 0 and variance 1 over what each output reads."""

    width: int
    size: int = 3
    gain: bool = False

    @nn.compact
    def __call__(self, x):
        shape = (self.size, self.size, x.shape[-1], self.width)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape)
        mean = jnp.mean(kernel, axis=(0, 1, 2), keepdims=True)
        variance = jnp.var(kernel, axis=(0, 1, 2), keepdims=True)
        if not self.gain:
            return conv(x, (kernel - mean) / jnp.sqrt(variance + 1e-5))
        gain = self.param("gain", nn.initializers.ones, (self.width,))
        fan_in = np.prod(shape[:-1])
        scale = jax.lax.rsqrt(jnp.maximum(variance * fan_in, 1e-4)) * gain
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        return conv(x, kernel * scale - mean * scale) + bias


class BigTransfer(nn.Module):
    """Standardised kernels and group normalisation by the variance about the mean."""

    @nn.compact
    def __call__(self, x):
        def normed(x):
            return nn.relu(nn.GroupNorm(num_groups=2, use_fast_variance=False)(x))

        x = Standardised(8)(x)
        for _ in range(2):
            y = Standardised(4, 1)(normed(x))
            y = Standardised(4)(normed(y))
            x = x + Standardised(8, 1)(normed(y))
        return nn.Dense(4)(normed(x).mean(axis=(1, 2)))


class NFNet(nn.Module):
    """No normalisation: standardised kernels with gains, and scaled branches."""

    @nn.compact
    def __call__(self, x):
        x = Standardised(8, gain=True)(x)
        for number, beta in enumerate((1.0, 0.9)):
            y = nn.gelu(x) * 1.7015 * beta
            y = nn.gelu(Standardised(6, 1, gain=True)(y)) * 1.7015
            y = Standardised(8, gain=True)(y)
            gate = nn.relu(nn.Dense(4)(y.mean(axis=(1, 2))))
            y = 2 * nn.sigmoid(nn.Dense(8)(gate))[:, None, None] * y
            skip_gain = self.param(f"skip_gain{number}", nn.initializers.ones, ())
            x = x + 0.2 * skip_gain * y
        return nn.Dense(4)(nn.gelu(x).mean(axis=(1, 2)))


def wavenet(variables, x):
    """Dilated causal convolutions with gates, residuals and skips."""
    x = x @ variables["first"]
    skips = 0.0
    for layer, dilation in zip(variables["layers"], (1, 2, 4), strict=True):
        gated = jax.lax.conv_general_dilated(
            x,
            layer["dilated"],
            (1,),
            [(dilation, 0)],
            rhs_dilation=(dilation,),
            dimension_numbers=("NWC", "WIO", "NWC"),
        )
        value, gate = jnp.split(gated + layer["bias"], 2, axis=-1)
        y = jnp.tanh(value) * jax.nn.sigmoid(gate)
        x, skips = x + y @ layer["residual"], skips + y @ layer["skip"]
    return jax.nn.relu(jax.nn.elu(skips) @ variables["mix"]) @ variables["last"]


WAVENET = {
    "first": (1, 6),
    "layers": [
        {"dilated": (2, 6, 16), "bias": (16,), "residual": (8, 6), "skip": (8, 7)} for _ in range(3)
    ],
    "mix": (7, 9),
    "last": (9, 5),
}


def entry(name, module, returned=4, **details):
    def build():
        return linen(module, image(2, 8, 8, 3))

    return Entry(name, "convolutional", build, returned=returned, **details)


ENTRIES = (
    entry("unet", UNet(), 2),
    entry("pixel_shuffle_as_torch", SuperResolution(shuffled_as_torch), 3, quick=True),
    entry("pixel_shuffle_as_tensorflow", SuperResolution(shuffled_as_tensorflow), 3),
    entry("maxout", Maxout(), quick=True),
    entry("blurpool", BlurPool(), quick=True),
    entry("big_transfer", BigTransfer()),
    entry("nfnet", NFNet()),
    Entry("wavenet", "convolutional", lambda: function(wavenet, WAVENET, image(2, 10, 1)), 5),
)
