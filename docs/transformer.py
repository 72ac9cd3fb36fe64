"""A language model loses half of its weights in one pass: magnitude, Wanda and SparseGPT.

    python docs/transformer.py            three seeds, 9 minutes of one core; --help: all options
    python docs/transformer.py --quick    a tiny model, one seed, a minute

Trains small decoder-only transformers on the characters of Python's own standard library, prunes
them without training on, and measures bits per character on files that they have not seen. Expect
2.19 of the dense models; of 50 % pruned 2.45 by magnitude and by Wanda, 2.30 by SparseGPT.
"""

import sysconfig
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
import polars as pl
import tyro
from flax import linen as nn

from experiments.common.figures import canvas, save_figure
from experiments.common.outputs import Outputs
from prunejax import allocation, criteria, layerwise, masks
from prunejax.network import trace


@dataclass(frozen=True)
class Options:
    layers: int = 4
    width: int = 128
    context: int = 64
    steps: int = 800
    batch: int = 32
    seeds: int = 3
    calibration: int = 128  # sequences
    validation: int = 512  # sequences
    results: Path = Path("results/transformer")
    quick: bool = False


class Block(nn.Module):
    @nn.compact
    def __call__(self, x):
        attention = nn.MultiHeadDotProductAttention(num_heads=4, name="attention")
        x = x + attention(nn.LayerNorm()(x), mask=nn.make_causal_mask(x[..., 0]))
        hidden = nn.gelu(nn.Dense(4 * x.shape[-1], name="up")(nn.LayerNorm()(x)))
        return x + nn.Dense(x.shape[-1], name="down")(hidden)


class Transformer(nn.Module):
    options: Options

    @nn.compact
    def __call__(self, characters):
        width, begin = self.options.width, nn.initializers.normal(0.02)
        x = nn.Embed(128, width)(characters)
        x = x + self.param("positions", begin, (self.options.context, width))
        for layer in range(self.options.layers):
            x = Block(name=f"block_{layer}")(x)
        return nn.Dense(128, name="head")(nn.LayerNorm()(x))


def text():
    """The characters of the standard library's modules; every tenth file is for validation."""
    parts = [[], []]
    files = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    for number, path in enumerate(files):
        raw = np.frombuffer(path.read_bytes(), np.uint8)
        parts[number % 10 == 9].append(np.where(raw < 128, raw, ord("?")))
    return [np.concatenate(part).astype(np.int32) for part in parts]


def windows(characters, count, context, seed):
    """Sequences and, for each of their characters, the one after it."""
    starts = np.random.default_rng(seed).integers(len(characters) - context, size=count)
    cut = characters[starts[:, None] + np.arange(context + 1)]
    return cut[:, :-1], cut[:, 1:]


def bits(model, variables, given, wanted):
    logits = model.apply(variables, given)
    return optax.softmax_cross_entropy_with_integer_labels(logits, wanted).mean() / np.log(2)


def train(model, options, characters, seed):
    schedule = optax.warmup_cosine_decay_schedule(0, 3e-3, options.steps // 10, options.steps)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=0.1))

    @jax.jit
    def step(variables, state, given, wanted):
        grads = jax.grad(partial(bits, model))(variables, given, wanted)
        updates, state = tx.update(grads, state, variables)
        return optax.apply_updates(variables, updates), state

    count = options.steps * options.batch
    given, wanted = windows(characters, count, options.context, seed)
    variables = model.init(jax.random.key(seed), given[:1])
    state = tx.init(variables)
    for at in range(0, count, options.batch):
        here = slice(at, at + options.batch)
        variables, state = step(variables, state, given[here], wanted[here])
    return variables


def pruned(network, variables, batches):
    """Each method's parameters for each amount; the embedding and the head stay whole."""
    params, given = variables["params"], (network, variables, batches)
    made = masks.make(params, r"block_.*kernel")
    size = criteria.magnitude(params, made)
    scores = layerwise.wanda(*given, masks=made)
    for amount in (0.5, 0.6, 0.7, "2:4", "4:8"):
        how = {"pattern" if isinstance(amount, str) else "sparsity": amount}
        if "sparsity" in how:
            kept = allocation.allocate(size, amount, distribution="uniform")
            yield "magnitude per layer", amount, masks.apply(params, kept)
        for method, each in (("magnitude per output", size), ("Wanda", scores)):
            kept = layerwise.allocate(network, each, **how)
            yield method, amount, masks.apply(params, kept)
        solved = layerwise.reconstruct(*given, kept)
        yield "Wanda, reconstructed", amount, solved.variables["params"]
        for method, one_by_one in (("SparseGPT", True), ("SparseGPT, one pass", False)):
            solved = layerwise.sparsegpt(*given, masks=made, sequential=one_by_one, **how)
            yield method, amount, solved.variables["params"]


def draw(table, place):
    figure, (axes,) = canvas(1)
    rows = table.filter(pl.col("amount").str.contains(r"^0\.[567]"))
    styles = iter(("o-", "s--", "^-.", "D:", "v-", "P--"))
    for (method,), each in rows.group_by("method", maintain_order=True):
        removed = 100 * each["amount"].cast(float)
        axes.plot(removed, each["bits"], next(styles), label=method)
    dense = table.filter(pl.col("method") == "dense")["bits"].item()
    axes.axhline(dense, color="black", linestyle=":", label="dense")
    axes.set(xlabel="weights removed (%)", ylabel="bits per character", xticks=(50, 60, 70))
    axes.legend()
    save_figure(figure, place, "Files not seen in training, no training after pruning")


def main(options):
    if options.quick:
        options = Options(2, 32, 32, 400, 32, 1, 32, 128, options.results)
    training, validation = text()
    model, rows = Transformer(options), []
    measured = jax.jit(partial(bits, model))
    test = windows(validation, options.validation, options.context, 2000)
    for seed in range(options.seeds):
        variables = train(model, options, training, seed)
        network = trace(model.apply, variables, np.zeros((1, options.context), np.int32))
        given, _ = windows(training, options.calibration, options.context, 1000 + seed)
        rows.append(("dense", "0.0", seed, float(measured(variables, *test))))
        batches = np.split(given, 4)
        found = layerwise.input_statistics(network, variables, batches, gram=False).values()
        norms = [np.sqrt(each.squared_norms) for each in found]
        spread = [np.max(each) / np.median(each) for each in norms]
        print(
            f"seed {seed}: inputs' norms, largest / median: {min(spread):.2f} - {max(spread):.2f}"
        )
        for method, amount, params in pruned(network, variables, batches):
            rows.append((method, str(amount), seed, float(measured({"params": params}, *test))))
    frame = pl.DataFrame(rows, ["method", "amount", "seed", "bits"], orient="row")
    of_seeds = frame.group_by("method", "amount", maintain_order=True)
    table = of_seeds.agg(pl.col("bits").mean(), spread=pl.col("bits").std())
    with pl.Config(tbl_rows=-1, float_precision=3):
        for value in ("bits", "spread"):
            print(value, table.pivot("amount", index="method", values=value), sep="\n")
    outputs = Outputs(options.results)
    outputs.numbers("bits", frame)
    draw(table, outputs.figure("bits"))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
