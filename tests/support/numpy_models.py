"""The models' forward passes in plain NumPy, layer by layer, from the papers' descriptions.

Nothing here knows prunejax, jax or flax: only the names of the parameters, the NHWC layout and the
HWIO layout of the kernels.
"""

import numpy as np


class Net:
    """The layers of a network; in train mode `new_stats` collects the new running averages."""

    def __init__(self, variables, train):
        self.params = variables["params"]
        self.stats = variables.get("batch_stats", {})
        self.links = variables.get("links", {})
        self.train = train
        self.new_stats = {}

    def leaf(self, tree, path):
        for key in path.split("/"):
            tree = tree[key]
        return {key: np.asarray(value, np.float64) for key, value in tree.items()}

    def dense(self, x, path):
        leaf = self.leaf(self.params, path)
        return x @ leaf["kernel"] + leaf["bias"]

    def conv(self, x, path, stride=1, padding=0):
        leaf = self.leaf(self.params, path)
        size = leaf["kernel"].shape[0]
        x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
        height, width = ((side - size) // stride + 1 for side in x.shape[1:3])
        y = np.zeros((x.shape[0], height, width, leaf["kernel"].shape[3]))
        for row in range(height):
            for column in range(width):
                top, left = row * stride, column * stride
                window = x[:, top : top + size, left : left + size, :]
                y[:, row, column] = np.tensordot(window, leaf["kernel"], 3)
        return y + leaf.get("bias", 0.0)

    def norm(self, x, path):
        leaf, stats = self.leaf(self.params, path), self.leaf(self.stats, path)
        if self.train:
            flat = x.reshape(-1, x.shape[-1])
            batch = {"mean": flat.mean(0), "var": flat.var(0)}
            self.new_stats[path] = {key: 0.9 * stats[key] + 0.1 * batch[key] for key in batch}
            stats = batch
        scale = leaf["scale"] / np.sqrt(stats["var"] + 1e-5)
        return (x - stats["mean"]) * scale + leaf["bias"]


def relu(x):
    return np.maximum(x, 0.0)


def pool(x, reduce, size=2, stride=2):
    height, width = ((side - size) // stride + 1 for side in x.shape[1:3])
    y = np.zeros((x.shape[0], height, width, x.shape[3]))
    for row in range(height):
        for column in range(width):
            top, left = row * stride, column * stride
            y[:, row, column] = reduce(x[:, top : top + size, left : left + size], axis=(1, 2))
    return y


def flat(x):
    return x.reshape(len(x), -1)


def mlp(net, x, hidden):
    x = flat(x)
    for i in range(hidden):
        x = relu(net.dense(x, f"hidden{i + 1}"))
    return net.dense(x, "classifier")


def sparse_mlp(net, x, hidden):
    """Each hidden kernel as a matrix, filled link by link."""
    x = flat(x)
    for i in range(hidden):
        layer = net.leaf(net.params, f"hidden{i + 1}")
        links = net.links[f"hidden{i + 1}"]["kernel"]
        kernel = np.zeros((x.shape[1], len(layer["bias"])))
        for source, target, weight in zip(
            links.sources, links.targets, layer["kernel"], strict=True
        ):
            kernel[source, target] += weight
        x = relu(x @ kernel + layer["bias"])
    return net.dense(x, "classifier")


def lenet5(net, x, reduce=np.max):
    x = pool(relu(net.conv(x, "conv1", padding=2)), reduce)
    x = pool(relu(net.conv(x, "conv2")), reduce)
    return mlp(net, x, 2)


def conv_norm_relu(net, x, path, **how):
    return relu(net.norm(net.conv(x, path, **how), f"{path}_norm"))


def conv6(net, x):
    for first in (1, 3, 5):
        x = conv_norm_relu(net, x, f"conv{first}", padding=1)
        x = pool(conv_norm_relu(net, x, f"conv{first + 1}", padding=1), np.max)
    x = relu(net.norm(net.dense(flat(x), "hidden1"), "hidden1_norm"))
    x = relu(net.norm(net.dense(x, "hidden2"), "hidden2_norm"))
    return net.dense(x, "classifier")


def vgg16(net, x):
    layer = 0
    for convolutions, ends_in_max_pool in ((2, 1), (2, 1), (3, 1), (3, 1), (3, 0)):
        for _ in range(convolutions):
            layer += 1
            x = conv_norm_relu(net, x, f"conv{layer}", padding=1)
        x = pool(x, np.max if ends_in_max_pool else np.mean)
    x = relu(net.norm(net.dense(flat(x), "hidden"), "hidden_norm"))
    return net.dense(x, "classifier")


def resnet(net, x, blocks, shortcut, pads=None):
    x = conv_norm_relu(net, x, "stem", padding=1)
    for stage in (1, 2, 3):
        for block in range(1, blocks + 1):
            path = f"stage{stage}_block{block}"
            narrows = stage > 1 and block == 1
            stride = 2 if narrows else 1
            y = conv_norm_relu(net, x, f"{path}/conv1", stride=stride, padding=1)
            y = net.norm(net.conv(y, f"{path}/conv2", padding=1), f"{path}/conv2_norm")
            if narrows and shortcut == "pad":
                wide = np.zeros_like(y)
                before = pads[stage - 2][0]
                wide[..., before : before + x.shape[-1]] = x[:, ::2, ::2]
                x = wide
            elif narrows:
                padding = {"conv3x3": 1, "conv1x1": 0}[shortcut]
                x = net.conv(x, f"{path}/shortcut", stride=2, padding=padding)
                x = net.norm(x, f"{path}/shortcut_norm")
            x = relu(x + y)
    return net.dense(x.mean((1, 2)), "classifier")


def resnet50(net, x):
    x = conv_norm_relu(net, x, "stem", stride=2, padding=3)
    bordered = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    x = pool(bordered, np.max, size=3, stride=2)
    for stage, blocks in enumerate((3, 4, 6, 3), start=1):
        for block in range(1, blocks + 1):
            path = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            y = conv_norm_relu(net, x, f"{path}/conv1")
            y = conv_norm_relu(net, y, f"{path}/conv2", stride=stride, padding=1)
            y = net.norm(net.conv(y, f"{path}/conv3"), f"{path}/conv3_norm")
            if block == 1:
                x = net.conv(x, f"{path}/shortcut", stride=stride)
                x = net.norm(x, f"{path}/shortcut_norm")
            x = relu(x + y)
    return net.dense(x.mean((1, 2)), "classifier")


def wide_resnet(net, x, blocks):
    x = net.conv(x, "stem", padding=1)
    for stage in (1, 2, 3):
        for block in range(1, blocks + 1):
            path = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            active = relu(net.norm(x, f"{path}/norm1"))
            y = net.conv(active, f"{path}/conv1", stride=stride, padding=1)
            y = net.conv(relu(net.norm(y, f"{path}/norm2")), f"{path}/conv2", padding=1)
            x = y + (net.conv(active, f"{path}/shortcut", stride=stride) if block == 1 else x)
    return net.dense(relu(net.norm(x, "norm")).mean((1, 2)), "classifier")


def densenet(net, x, depths):
    x = net.conv(x, "stem", padding=1)
    for block, depth in enumerate(depths, start=1):
        for layer in range(1, depth + 1):
            path = f"block{block}_layer{layer}"
            y = net.conv(relu(net.norm(x, f"{path}/norm")), f"{path}/conv", padding=1)
            x = np.concatenate([x, y], -1)
        if block < len(depths):
            path = f"transition{block}"
            x = pool(net.conv(relu(net.norm(x, f"{path}/norm")), f"{path}/conv"), np.mean)
    return net.dense(relu(net.norm(x, "norm")).mean((1, 2)), "classifier")


class Lif:
    """Leaky integrate-and-fire neurons, step by step; arrays hold time slowest in the batch."""

    def __init__(self, steps, decay=0.25, gain=1.0, threshold=0.5, soft=False):
        self.steps, self.decay, self.gain = steps, decay, gain
        self.threshold, self.soft = threshold, soft

    def __call__(self, currents):
        carried, spikes = 0.0, []
        for current in np.split(currents, self.steps):
            u = self.decay * carried + self.gain * current
            s = (u > self.threshold).astype(float)
            carried = u - self.threshold * s if self.soft else u * (1 - s)
            spikes.append(s)
        return np.concatenate(spikes)

    def shown(self, x):
        return np.concatenate([x] * self.steps)

    def mean(self, spikes):
        return np.mean(np.split(spikes, self.steps), axis=0)


def spiking_mlp(net, x, hidden, lif):
    x = flat(lif.shown(x))
    for i in range(hidden):
        x = lif(net.dense(x, f"hidden{i + 1}"))
    return lif.mean(net.dense(x, "classifier"))


def spiking_conv(net, x, lif):
    x = lif.shown(x)
    for name in ("conv1", "conv2"):
        x = pool(lif(net.norm(net.conv(x, name, padding=1), f"{name}_norm")), np.mean)
    x = lif(net.norm(net.dense(flat(x), "hidden"), "hidden_norm"))
    return lif.mean(net.dense(x, "classifier"))


def spiking_vgg16(net, x, lif):
    x, layer = lif.shown(x), 0
    for convolutions in (2, 2, 3, 3, 3):
        for _ in range(convolutions):
            layer += 1
            x = net.norm(net.conv(x, f"conv{layer}", padding=1), f"conv{layer}_norm")
            x = lif(x)
        x = pool(x, np.mean)
    x = lif(net.norm(net.dense(flat(x), "hidden"), "hidden_norm"))
    return lif.mean(net.dense(x, "classifier"))


def spiking_resnet19(net, x, lif):
    x = net.conv(lif.shown(x), "stem", padding=1)
    for stage, blocks in enumerate((3, 3, 2), start=1):
        for block in range(1, blocks + 1):
            path = f"stage{stage}_block{block}"
            stride = 2 if stage > 1 and block == 1 else 1
            fired = lif(net.norm(x, f"{path}_norm1"))
            y = net.conv(fired, f"{path}_conv1", stride=stride, padding=1)
            y = net.conv(lif(net.norm(y, f"{path}_norm2")), f"{path}_conv2", padding=1)
            x = y + (net.conv(fired, f"{path}_shortcut", stride=2) if stride == 2 else x)
    x = lif(net.norm(x, "last_norm")).mean((1, 2))
    x = lif(net.norm(net.dense(x, "hidden"), "hidden_norm"))
    return lif.mean(net.dense(x, "classifier"))
