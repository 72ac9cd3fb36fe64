"""Makes the figures of the documentation again, and the page that shows them all.

    python docs/gallery.py                        all of it, about half an hour on one core
    python docs/gallery.py initialisation tau     some of it
    python docs/gallery.py --page                 docs/gallery.md alone

Runs that are recorded in the folder of results are not done again.
"""

import argparse
import io
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from PIL import Image

DOCS = Path(__file__).parent
MOST = 120_000
"""Bytes that a figure may have; a larger one gets fewer colours, then fewer pixels."""


class Figure(NamedTuple):
    """A figure of a study.

    Attributes:
      command: the study and its options.
      made: the file that the command writes, without the folder that its settings name.
      page: the page of the method.
      title: what it is, for people who do not see it too.
      reading: how to read it.
    """

    command: str
    made: str
    page: str
    title: str
    reading: str


COMPARE = "compare"
DURING = "compare --methods gmp set rigl ch3_l3"
KCORE = "entropy_kcore"
NEURONS = "critical_neurons"
TOPOLOGY = "adaptive_topology"
GRAPHS = "graph_encoding --track"
IDEAS = "graph_encoding --study neurons"
SPIKING = "spiking"
STRUCTURED = "spiking --structured"

FIGURES = {
    "initialisation": Figure(
        COMPARE,
        "compare/accuracy.png",
        "snip",
        "Six methods that prune at initialisation",
        "A line shows how the test accuracy of one method falls as more weights are removed; a "
        "line that stays high to the right is better. The axis shows the good methods: an arrow "
        "and a number stand for a mean that lies below it.",
    ),
    "during_training": Figure(
        DURING,
        "compare/accuracy.png",
        "gradual",
        "Four methods that prune or rewire during training",
        "As above, for methods that change the masks while the network trains. With 2 % of the "
        "weights, `set` and `ch3_l3` fall below the axis.",
    ),
    "tau": Figure(
        KCORE,
        "entropy_kcore/tau.png",
        "entropy_kcore",
        "The threshold of the entropy-guided k-core method",
        "Left, the share of multiply-adds (FR) and of parameters (PR) that each threshold "
        "removes; middle and right, the accuracy before and after fine-tuning. At 1 nothing is "
        "removed.",
    ),
    "channel_criteria": Figure(
        KCORE,
        "entropy_kcore/criteria.png",
        "channels",
        "Criteria for channels at the same cost",
        "A mark is the accuracy that a network loses when one criterion chooses the filters; "
        "left is better. All criteria remove as many filters of each layer. Where the strokes of "
        "two criteria overlap widely, three seeds do not tell them apart.",
    ),
    "redundancy_graph": Figure(
        KCORE,
        "entropy_kcore/graph.png",
        "entropy_kcore",
        "The redundancy graph of one layer",
        "A mark is a filter; an edge joins two filters whose feature maps look alike. Rings are "
        "the filters that stay: those without edges, and one or more of each redundant group.",
    ),
    "neuron_scores": Figure(
        NEURONS,
        "critical_neurons/scores.png",
        "critical_neurons",
        "Scores of neurons by the mixed-integer program",
        "The scores of each layer's neurons in falling order; neurons below the threshold are "
        "pruned.",
    ),
    "neuron_curve": Figure(
        NEURONS,
        "critical_neurons/curve.png",
        "critical_neurons",
        "Accuracy against the share of neurons pruned",
        "Each line prunes the neurons of every layer in one order: lowest score first, at "
        "random, highest score first. The first line should fall last.",
    ),
    "rewiring_accuracy": Figure(
        TOPOLOGY,
        "adaptive_topology/accuracy.png",
        "set",
        "Accuracy as the network rewires itself",
        "A line is the median accuracy over seeds, by epoch, for one rule of regrowth. The right "
        "panel shows the second half of the epochs close up.",
    ),
    "rewiring_degrees": Figure(
        TOPOLOGY,
        "adaptive_topology/degrees.png",
        "ch3_l3",
        "Links of neurons as the network rewires itself",
        "Above, how many neurons have links in, and how many links enter the largest hub, by "
        "epoch; below, the share of neurons that have at least so many links at the end. CH3-L3 "
        "gathers links on fewer neurons.",
    ),
    "attacks_on_links": Figure(
        TOPOLOGY,
        "adaptive_topology/pruning.png",
        "robustness",
        "Links removed after training",
        "Accuracy against the share of links removed, a panel per order of removal; a line that "
        "falls late belongs to a network that is robust. Each panel has its own axes: without "
        "the smallest weights little is lost, without 1 % of the largest nearly all.",
    ),
    "attacks_on_weights": Figure(
        TOPOLOGY,
        "adaptive_topology/weights.png",
        "robustness",
        "Weights changed after training",
        "Accuracy against the strength of the change: left, weights of about the same value are "
        "shuffled; right, noise is added. Each panel has its own axes.",
    ),
    "metric_correlations": Figure(
        GRAPHS,
        "graph_encoding/correlation.png",
        "topology",
        "What metrics of graphs say of the drop in accuracy",
        "A number is the correlation of a metric with the drop in accuracy, among networks of "
        "one sparsity or of one model. Red: the drop is larger where the metric is; blue: "
        "smaller.",
    ),
    "metric_rankings": Figure(
        GRAPHS,
        "graph_encoding/ranking.png",
        "topology",
        "How well metrics rank pruning methods",
        "A line shows how far the order of methods by one strategy agrees with the order by "
        "accuracy; higher is better.",
    ),
    "graphs_in_training": Figure(
        GRAPHS,
        "graph_encoding/tracked.png",
        "topology",
        "Graphs as networks train",
        "A line follows one number of the graph over the epochs, for four methods that prune or "
        "rewire in training.",
    ),
    "graph": Figure(
        GRAPHS,
        "graph_encoding/graph.png",
        "topology",
        "A pruned network as a graph",
        "Layers stand from left to right; a darker edge has a larger weight. Crosses are nodes "
        "that have no edge left.",
    ),
    "ideas_of_importance": Figure(
        IDEAS,
        "graph_encoding/neurons.png",
        "critical_neurons",
        "Three ideas of the importance of neurons",
        "A mark is a neuron: across, its importance by one idea; up, the test loss that is "
        "gained without it. An idea is good where the marks rise to the right; a correlation "
        "near 0 says that they do not.",
    ),
    "spiking_accuracy": Figure(
        SPIKING,
        "spiking/accuracy.png",
        "spiking",
        "Rules of growth for spiking networks",
        "Accuracy as more weights are pruned, a line per rule. The bands of one standard "
        "deviation overlap: three seeds tell few rules apart.",
    ),
    "spiking_entropy": Figure(
        SPIKING,
        "spiking/entropy.png",
        "spiking",
        "Criticality and entropy of neurons",
        "A mark is a neuron of a dense network: across, its criticality, read in two ways; up, "
        "the entropy of its firing.",
    ),
    "spiking_neurons": Figure(
        SPIKING,
        "spiking/neurons.png",
        "spiking",
        "Spikes and potentials",
        "Left, the dense network; right, the pruned one. Above, the spikes of the last layer for "
        "ten images; below, how often each potential occurs, with the threshold.",
    ),
    "spiking_channels": Figure(
        STRUCTURED,
        "spiking/accuracy.png",
        "spiking",
        "Whole channels of a spiking network",
        "Accuracy as more channels are pruned, a line per rule.",
    ),
}  # fmt: skip


def made_by(figure: Figure, results: Path) -> Path:
    """The newest file that a figure's command can have written."""
    study, name = figure.made.split("/")
    found = sorted((results / study).glob(f"*/{name}"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise FileNotFoundError(f"{figure.command} wrote no {figure.made} under {results}")
    return found[-1]


def small(path: Path) -> bytes:
    """A figure as a PNG file of at most ``MOST`` bytes."""
    image = Image.open(path).convert("RGB")
    image.thumbnail((1400, 1400), Image.Resampling.LANCZOS)
    colours = 128
    while True:
        written = io.BytesIO()
        # an octree keeps rare colours, such as those of a few marks
        fewer = image.quantize(colours, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        fewer.save(written, "png", optimize=True)
        if len(written.getvalue()) <= MOST:
            return written.getvalue()
        if colours > 32:
            colours //= 2
        else:
            size = (image.width * 9 // 10, image.height * 9 // 10)
            image = image.resize(size, Image.Resampling.LANCZOS)


def page() -> str:
    """``docs/gallery.md``."""
    lines = [
        "# Gallery",
        "",
        "These are the figures of this site. Each comes from a recorded run of the command below "
        "it.",
        "`make gallery` makes them all again, and this page with them. No data set is needed "
        "beyond the",
        "digits that scikit-learn brings.",
    ]
    for name, figure in FIGURES.items():
        lines += ["", f"## {figure.title}", "", f"![{figure.title}](figures/{name}.png)", ""]
        lines += [*_wrapped(figure.reading), f"See [the method](methods/{figure.page}.md)."]
        lines += ["", "```", f"prunejax {figure.command}", "```"]
    return "\n".join(lines) + "\n"


def _wrapped(text: str) -> list[str]:
    import textwrap

    return textwrap.wrap(text, 100)


def main() -> None:
    """Runs the commands, copies their figures, writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", choices=[[], *FIGURES], metavar="NAME")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--page", action="store_true", help="write the page alone")
    given = parser.parse_args()
    (DOCS / "gallery.md").write_text(page(), encoding="utf-8")
    if given.page:
        return
    wanted = {name: FIGURES[name] for name in given.names or FIGURES}
    for command in dict.fromkeys(figure.command for figure in wanted.values()):
        study, *options = shlex.split(command)
        line = [sys.executable, "-m", f"experiments.{study}", *options]
        print("prunejax", command, flush=True)
        line += ["--results", str(given.results)]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        for name, figure in wanted.items():
            if figure.command == command:
                content = small(made_by(figure, given.results))
                (DOCS / "figures" / f"{name}.png").write_bytes(content)


if __name__ == "__main__":
    main()
