"""One-shot pruning: how far does accuracy fall as trained networks lose their smallest weights?

    python docs/one_shot.py      on digits, some ten seconds; --help names all options

As ``experiments/one_shot/__main__.py`` it stands beside the other studies. Expect on digits 97 % up
to a sparsity of 0.5, and little more than guessing at 0.98.
"""

from dataclasses import dataclass

import polars as pl

from experiments.common import command, networks, options
from experiments.common.bench import Setup
from experiments.common.figures import canvas, save_figure
from experiments.common.outputs import Outputs
from experiments.common.run import Outcome, Run
from experiments.common.trained import accuracy
from prunejax import allocation, criteria, masks


@dataclass(frozen=True, kw_only=True)
class OneShot(options.Options):
    sparsities: tuple[float, ...] = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)


@dataclass(frozen=True)
class Pruned(Run):  # its fields name its record
    setup: Setup
    seed: int
    sparsity: float
    study = "one_shot"

    @property
    def needs(self):  # trained once, for all studies
        return (networks.TrainedNetwork(self.setup, self.seed),)

    def do(self, desk):
        bench, network = self.setup.bench(desk), networks.load(self.needs[0], desk)
        params = network.variables["params"]
        scores = criteria.magnitude(params, masks.make(params), None)
        params = masks.apply(params, allocation.allocate(scores, self.sparsity))
        return Outcome(
            {"accuracy": accuracy(bench.tools, {**network.variables, "params": params}, bench)}
        )


def runs(config):
    setup, seeds = options.setup_of(config, trained=True), range(config.running.seeds)
    return [Pruned(setup, seed, sparsity) for seed in seeds for sparsity in config.sparsities]


def report(config, done, desk, console):
    rows = [(run.sparsity, 100 * one["metrics"]["accuracy"]) for run, one in done.records.items()]
    frame = pl.DataFrame(rows, ["sparsity", "accuracy"], orient="row")
    console.print(table := frame.group_by("sparsity", maintain_order=True).mean())
    outputs = Outputs(options.folder_of(config, "one_shot"), config.running.formats)
    outputs.numbers("accuracy", table)
    figure, (axes,) = canvas(1)
    axes.plot(frame["sparsity"], frame["accuracy"], "o")
    axes.set(xlabel="sparsity", ylabel="test accuracy (%)")
    save_figure(figure, outputs.figure("accuracy"), "Magnitude pruning without training on")
    return outputs.files


if __name__ == "__main__":
    command.start(command.Study("one_shot", runs, report), OneShot, __doc__)
