"""Convolutional networks, in linen: the families of image classifiers."""

from functools import partial

import jax.numpy as jnp
from flax import linen as nn

from tests.network.zoo.entry import Entry, image, linen, linen_training


def pointwise(width, **settings):
    return nn.Conv(width, (1, 1), use_bias=False, **settings)


def depthwise(width, size=3, **settings):
    return nn.Conv(width, (size, size), feature_group_count=width, use_bias=False, **settings)


class Normed(nn.Module):
    """A convolution, a batch normalisation, and an activation."""

    width: int
    size: int = 3
    strides: int = 1
    groups: int = 1
    train: bool = False
    activation: object = nn.relu

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(
            self.width,
            (self.size, self.size),
            strides=self.strides,
            feature_group_count=self.groups,
            use_bias=False,
        )(x)
        return self.activation(nn.BatchNorm(use_running_average=not self.train)(x))


def nothing(x):
    return x


def pooled(x):
    return x.mean(axis=(1, 2))


class VGG(nn.Module):
    train: bool = False

    @nn.compact
    def __call__(self, x):
        for width in (6, 7, "pool", 8, 9, "pool"):
            if width == "pool":
                x = nn.max_pool(x, (2, 2), (2, 2))
            else:
                x = Normed(width, train=self.train)(x)
        x = nn.relu(nn.Dense(10)(x.reshape(len(x), -1)))
        return nn.Dense(4)(nn.Dropout(0.5, deterministic=not self.train)(x))


class ResNet(nn.Module):
    train: bool = False

    @nn.compact
    def __call__(self, x):
        conv = partial(Normed, train=self.train)
        x = nn.max_pool(conv(6, 5, 2)(x), (3, 3), (2, 2), "SAME")
        for width, strides in ((6, 1), (8, 2)):
            short = x
            if strides > 1:
                short = conv(width, 1, strides, activation=nothing)(x)
            x = conv(width, 3, strides)(x)
            x = nn.relu(short + conv(width, activation=nothing)(x))
        return nn.Dense(4)(pooled(x))


class Bottleneck(nn.Module):
    """ResNet's with groups is ResNeXt's; with a gate, RegNet's."""

    width: int
    inner: int
    groups: int
    gate: bool = False
    strides: int = 1

    @nn.compact
    def __call__(self, x):
        y = Normed(self.inner, 1)(x)
        y = Normed(self.inner, 3, self.strides, self.groups)(y)
        if self.gate:
            y = SqueezeExcite(4)(y)
        y = Normed(self.width, 1, activation=nothing)(y)
        if x.shape != y.shape:
            x = Normed(self.width, 1, self.strides, activation=nothing)(x)
        return nn.relu(x + y)


class SqueezeExcite(nn.Module):
    reduced: int
    inner: object = nn.relu
    outer: object = nn.sigmoid

    @nn.compact
    def __call__(self, x):
        gate = x.mean(axis=(1, 2), keepdims=True)
        gate = self.inner(nn.Conv(self.reduced, (1, 1))(gate))
        return x * self.outer(nn.Conv(x.shape[-1], (1, 1))(gate))


class ResNeXt(nn.Module):
    groups: int
    gate: bool = False

    @nn.compact
    def __call__(self, x):
        x = Normed(6)(x)
        for width, inner, strides in ((8, 8, 1), (12, 12, 2), (12, 12, 1)):
            x = Bottleneck(width, inner, self.groups, self.gate, strides)(x)
        return nn.Dense(4)(pooled(x))


class DenseNet(nn.Module):
    train: bool = False

    @nn.compact
    def __call__(self, x):
        def normed(x):
            return nn.relu(nn.BatchNorm(use_running_average=not self.train)(x))

        x = nn.Conv(6, (3, 3), use_bias=False)(x)
        for block in range(2):
            for _ in range(2):
                y = pointwise(8)(normed(x))
                x = jnp.concatenate([x, nn.Conv(4, (3, 3), use_bias=False)(normed(y))], axis=-1)
            if block == 0:
                x = nn.avg_pool(pointwise(7)(normed(x)), (2, 2), (2, 2))
        return nn.Dense(4)(pooled(normed(x)))


class MobileNetV2(nn.Module):
    train: bool = False

    @nn.compact
    def __call__(self, x):
        norm = partial(nn.BatchNorm, use_running_average=not self.train)
        x = nn.relu6(norm()(nn.Conv(6, (3, 3), strides=2, use_bias=False)(x)))
        for width, strides in ((6, 1), (8, 2), (8, 1)):
            inner = 2 * x.shape[-1]
            y = nn.relu6(norm()(pointwise(inner)(x)))
            y = nn.relu6(norm()(depthwise(inner, strides=strides)(y)))
            y = norm()(pointwise(width)(y))
            x = x + y if x.shape == y.shape else y
        x = nn.relu6(norm()(pointwise(12)(x)))
        return nn.Dense(4)(pooled(x))


class MobileNetV3(nn.Module):
    @nn.compact
    def __call__(self, x):
        norm = partial(nn.BatchNorm, use_running_average=True)
        x = nn.hard_swish(norm()(nn.Conv(6, (3, 3), strides=2, use_bias=False)(x)))
        for width, act in ((6, nn.relu), (6, nn.hard_swish), (8, nn.hard_swish)):
            inner = 2 * x.shape[-1]
            y = act(norm()(pointwise(inner)(x)))
            y = act(norm()(depthwise(inner, 5)(y)))
            y = SqueezeExcite(4, outer=nn.hard_sigmoid)(y)
            y = norm()(pointwise(width)(y))
            x = x + y if x.shape == y.shape else y
        x = nn.hard_swish(norm()(pointwise(12)(x)))
        return nn.Dense(4)(nn.hard_swish(nn.Dense(10)(pooled(x))))


class EfficientNet(nn.Module):
    """With stochastic depth, which drops the branch of an example as a whole."""

    train: bool = False

    @nn.compact
    def __call__(self, x):
        norm = partial(nn.BatchNorm, use_running_average=not self.train)
        x = nn.swish(norm()(nn.Conv(6, (3, 3), strides=2, use_bias=False)(x)))
        for width, size in ((6, 3), (6, 5), (8, 3)):
            inner = 2 * x.shape[-1]
            y = nn.swish(norm()(pointwise(inner)(x)))
            y = nn.swish(norm()(depthwise(inner, size)(y)))
            y = SqueezeExcite(3, nn.swish)(y)
            y = norm()(pointwise(width)(y))
            if x.shape == y.shape:
                drop = nn.Dropout(0.2, broadcast_dims=(1, 2, 3), deterministic=not self.train)
                y = x + drop(y)
            x = y
        x = pooled(nn.swish(norm()(pointwise(12)(x))))
        return nn.Dense(4)(nn.Dropout(0.2, deterministic=not self.train)(x))


def shuffled(x, groups):
    shape = (*x.shape[:-1], groups, x.shape[-1] // groups)
    return x.reshape(shape).swapaxes(-1, -2).reshape(x.shape)


class ShuffleNet(nn.Module):
    groups: int = 3

    @nn.compact
    def __call__(self, x):
        x = Normed(12)(x)
        for _ in range(2):
            y = Normed(12, 1, groups=self.groups)(x)
            y = shuffled(y, self.groups)
            y = nn.BatchNorm(use_running_average=True)(depthwise(12)(y))
            x = nn.relu(x + Normed(12, 1, groups=self.groups, activation=nothing)(y))
        return nn.Dense(4)(pooled(x))


class ShuffleNetV2(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = Normed(12)(x)
        for _ in range(2):
            left, right = jnp.split(x, 2, axis=-1)
            right = Normed(6, 1)(right)
            right = nn.BatchNorm(use_running_average=True)(depthwise(6)(right))
            right = Normed(6, 1)(right)
            x = shuffled(jnp.concatenate([left, right], axis=-1), 2)
        return nn.Dense(4)(pooled(Normed(10, 1)(x)))


class ConvNeXt(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(nn.Conv(6, (2, 2), strides=2)(x))
        for stage, width in enumerate((6, 8)):
            if stage:
                x = nn.Conv(width, (2, 2), strides=2)(nn.LayerNorm()(x))
            for block in range(2):
                y = nn.LayerNorm()(nn.Conv(width, (5, 5), feature_group_count=width)(x))
                y = nn.Dense(width)(nn.gelu(nn.Dense(3 * width)(y)))
                scale = self.param(f"scale{stage}{block}", nn.initializers.ones, (width,))
                x = x + scale * y
        return nn.Dense(4)(nn.LayerNorm()(pooled(x)))


class Inception(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = Normed(6)(x)
        for _ in range(2):
            branches = (
                Normed(3, 1)(x),
                Normed(5, 3)(Normed(4, 1)(x)),
                Normed(3)(Normed(4)(Normed(3, 1)(x))),
                Normed(3, 1)(nn.avg_pool(x, (3, 3), (1, 1), "SAME", count_include_pad=False)),
            )
            x = jnp.concatenate(branches, axis=-1)
        return nn.Dense(4)(pooled(x))


class SqueezeNet(nn.Module):
    """Its classifier is a convolution."""

    @nn.compact
    def __call__(self, x):
        x = nn.max_pool(nn.relu(nn.Conv(6, (3, 3))(x)), (3, 3), (2, 2))
        for squeezed, expanded in ((4, 5), (5, 6)):
            x = nn.relu(nn.Conv(squeezed, (1, 1))(x))
            fires = [nn.relu(nn.Conv(expanded, (size, size))(x)) for size in (1, 3)]
            x = jnp.concatenate(fires, axis=-1)
        return pooled(nn.relu(nn.Conv(4, (1, 1))(x)))


class Xception(nn.Module):
    @nn.compact
    def __call__(self, x):
        norm = partial(nn.BatchNorm, use_running_average=True)
        x = Normed(6)(x)
        for width in (8, 8):
            short = norm()(pointwise(width, strides=2)(x))
            for _ in range(2):
                x = norm()(pointwise(width)(depthwise(x.shape[-1])(nn.relu(x))))
            x = short + nn.max_pool(x, (3, 3), (2, 2), "SAME")
        return nn.Dense(4)(pooled(x))


PIXELS = (2, 8, 8, 3)


def entry(name, module, shape=PIXELS, **details):
    return Entry(name, "convolutional", lambda: linen(module, image(*shape)), returned=4, **details)


def training(name, module, **details):
    return Entry(
        name,
        "convolutional",
        lambda: linen_training(module, image(3, 8, 8, 3)),
        returned=4,
        training=True,
        state=lambda outputs: outputs,
        **details,
    )


ENTRIES = (
    entry("vgg", VGG(), quick=True),
    training("vgg_training", VGG(train=True)),
    entry("resnet", ResNet(), (2, 16, 16, 3)),
    training("resnet_training", ResNet(train=True)),
    entry("resnext", ResNeXt(groups=4)),
    entry("regnet", ResNeXt(groups=2, gate=True), slow=True),
    entry("densenet", DenseNet()),
    training("densenet_training", DenseNet(train=True), slow=True),
    entry("mobilenet_v2", MobileNetV2()),
    training("mobilenet_v2_training", MobileNetV2(train=True), slow=True),
    entry("mobilenet_v3", MobileNetV3()),
    entry("efficientnet", EfficientNet()),
    training("efficientnet_training", EfficientNet(train=True)),
    entry(
        "shufflenet",
        ShuffleNet(),
        quick=True,
        reason="after a shuffle the groups of the next convolution hold parts of all groups before",
    ),
    entry("shufflenet_v2", ShuffleNetV2()),
    entry("convnext", ConvNeXt(), slow=True),
    entry("inception", Inception(), slow=True),
    entry("squeezenet", SqueezeNet(), quick=True),
    entry("xception", Xception()),
)
