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
MOST = 80_000
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


COMPARE = "experiments.compare"
DURING = "experiments.compare --methods gmp set rigl ch3_l3"
KCORE = "experiments.entropy_kcore"
NEURONS = "experiments.critical_neurons"
TOPOLOGY = "experiments.adaptive_topology"
GRAPHS = "experiments.graph_encoding --track"
IDEAS = "experiments.graph_encoding --study neurons"
SPIKING = "experiments.spiking"
STRUCTURED = "experiments.spiking --structured"

FIGURES = {
    "initialisation": Figure(
        COMPARE,
        "compare/accuracy.png",
        "snip",
        "Six methods that prune at initialisation",
        "A line shows how the test accuracy of one method falls as more weights are removed; "
        "a line that stays high to the right is better.",
    ),
    "during_training": Figure(
        DURING,
        "compare/accuracy.png",
        "gradual",
        "Four methods that prune or rewire during training",
        "As above, for methods that change the masks while the network trains.",
    ),
    "tau": Figure(
        KCORE,
        "entropy_kcore/tau.png",
        "entropy_kcore",
        "The threshold of the entropy-guided k-core method",
        "Left, the share of multiply-adds (FR) and of parameters (PR) that each threshold removes; "
        "right, the accuracy before and after fine-tuning. At 1 nothing goes.",
    ),
    "channel_criteria": Figure(
        KCORE,
        "entropy_kcore/criteria.png",
        "channels",
        "Criteria for channels at the same cost",
        "Left, the accuracy that a network loses when one criterion chooses the filters (lower is "
        "better); the other panels show that all remove as much. Thin lines are one standard "
        "deviation.",
    ),
    "redundancy_graph": Figure(
        KCORE,
        "entropy_kcore/graph.png",
        "entropy_kcore",
        "The redundancy graph of one layer",
        "A node is a filter; an edge joins two filters whose feature maps look alike; "
        "one filter of each redundant group stays.",
    ),
    "neuron_scores": Figure(
        NEURONS,
        "critical_neurons/scores.png",
        "critical_neurons",
        "Scores of neurons by the mixed-integer program",
        "The scores of each layer's neurons in falling order; neurons below the threshold go.",
    ),
    "neuron_curve": Figure(
        NEURONS,
        "critical_neurons/curve.png",
        "critical_neurons",
        "Accuracy against the share of neurons that goes",
        "The share of each layer's neurons that goes, by lowest score, at random, and by highest "
        "score; the first line should fall last.",
    ),
    "rewiring_accuracy": Figure(
        TOPOLOGY,
        "adaptive_topology/accuracy.png",
        "set",
        "Accuracy as the network rewires itself",
        "A line is the median accuracy over seeds, by epoch, for one rule of regrowth.",
    ),
    "rewiring_degrees": Figure(
        TOPOLOGY,
        "adaptive_topology/degrees.png",
        "ch3_l3",
        "Links of neurons as the network rewires itself",
        "The number of neurons with links in, the largest hub by epoch, and the degrees at the "
        "end: CH3-L3 gathers links on fewer neurons.",
    ),
    "attacks_on_links": Figure(
        TOPOLOGY,
        "adaptive_topology/pruning.png",
        "robustness",
        "Links removed after training",
        "Accuracy against the fraction of links that is removed; a line that falls late belongs "
        "to a network that is robust.",
    ),
    "attacks_on_weights": Figure(
        TOPOLOGY,
        "adaptive_topology/weights.png",
        "robustness",
        "Weights changed after training",
        "Accuracy against the strength of the change, for shuffled weights and for noise.",
    ),
    "metric_correlations": Figure(
        GRAPHS,
        "graph_encoding/correlation.png",
        "topology",
        "What metrics of graphs say of the drop in accuracy",
        "The colour is the correlation of a metric with the drop in accuracy, by sparsity and by "
        "model; strong colours mark metrics that predict.",
    ),
    "metric_rankings": Figure(
        GRAPHS,
        "graph_encoding/ranking.png",
        "topology",
        "How well metrics rank pruning methods",
        "A bar shows how far the order of methods by one strategy agrees with the order by "
        "accuracy; higher is better.",
    ),
    "graphs_in_training": Figure(
        GRAPHS,
        "graph_encoding/tracked.png",
        "topology",
        "Graphs as networks train",
        "A line follows one number of the graph over the epochs, the mean over seeds.",
    ),
    "graph": Figure(
        GRAPHS,
        "graph_encoding/graph.png",
        "topology",
        "A pruned network as a graph",
        "Layers stand from left to right; an edge is the darker, the larger its weight.",
    ),
    "ideas_of_importance": Figure(
        IDEAS,
        "graph_encoding/neurons.png",
        "critical_neurons",
        "Three ideas of the importance of neurons",
        "A point is a neuron: across, its importance by one idea; up, the loss that is gained "
        "without it. An idea is good where the points rise to the right.",
    ),
    "spiking_accuracy": Figure(
        SPIKING,
        "spiking/accuracy.png",
        "spiking",
        "Rules of growth for spiking networks",
        "Accuracy against the share of weights that is kept, a line per rule; the bands are one "
        "standard deviation.",
    ),
    "spiking_entropy": Figure(
        SPIKING,
        "spiking/entropy.png",
        "spiking",
        "Criticality and entropy of neurons",
        "A point is a neuron of a dense network: across its criticality, read in two ways, up the "
        "entropy of its firing.",
    ),
    "spiking_neurons": Figure(
        SPIKING,
        "spiking/neurons.png",
        "spiking",
        "Spikes and potentials",
        "Above, the spikes of the last layer for ten images; below, the potentials around the "
        "threshold. Left, the dense network; right, the pruned one.",
    ),
    "spiking_channels": Figure(
        STRUCTURED,
        "spiking/accuracy.png",
        "spiking",
        "Whole channels of a spiking network",
        "Accuracy against the share of channels that is kept, a line per rule.",
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
        image.quantize(colours, dither=Image.Dither.NONE).save(written, "png", optimize=True)
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
        lines += ["", "```", f"python -m {figure.command}", "```"]
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
        line = [sys.executable, "-m", *shlex.split(command), "--results", str(given.results)]
        print("python -m", command, flush=True)
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
        for name, figure in wanted.items():
            if figure.command == command:
                content = small(made_by(figure, given.results))
                (DOCS / "figures" / f"{name}.png").write_bytes(content)


if __name__ == "__main__":
    main()
