"""Tables and files: nothing is cut, LaTeX is LaTeX, formats are those asked for."""

import polars as pl
import pytest
from rich.console import Console

from experiments.common import figures, tables
from experiments.common.outputs import Outputs

HEADER = ["method", "0.5", "0.8", "0.9", "0.95", "0.98", "0.99", "scoring s"]
BODY = [[name, *["88.8 ± 14.6"] * 6, "0.123"] for name in ("magnitude_uniform", "snip")]


@pytest.mark.parametrize("width", [40, 60, *range(75, 100), 200])
def test_no_cell_is_cut_at_any_width(width):
    console = Console(record=True, width=width)
    tables.print_table(console, "a caption", HEADER, BODY, ends=[0])
    text = console.export_text()
    assert all(len(line) <= width for line in text.splitlines())
    for cell in [*HEADER, "magnitude_uniform"]:
        assert cell in text
    assert text.count("88.8 ± 14.6") == 12
    assert "…" not in text
    # Every part says whose numbers they are.
    assert (
        text.count("magnitude_uniform")
        == text.count("method")
        == len(tables.blocks(HEADER, BODY, width))
    )
    assert (width < 75) == (len(tables.blocks(HEADER, BODY, width)) > 2)


def test_latex_is_a_table_of_booktabs():
    text = tables.latex_table(["method", "a_b"], [["x & y", "5 ± 1 %"]], "50% of {it}")
    assert r"\begin{tabular}{lr}" in text
    assert r"method & a\_b \\" in text
    assert r"x \& y & 5 $\pm$ 1 \% \\" in text
    assert r"\caption{50\% of \{it\}}" in text
    assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")


def test_formats_say_what_is_written(tmp_path):
    for formats in (("csv", "md", "tex", "png", "pdf"), ("pdf",), ()):
        outputs = Outputs(tmp_path / "-".join(("x", *formats)), formats)
        outputs.numbers("n", pl.DataFrame({"a": [1]}))
        outputs.report("r", "text")
        outputs.latex("t", ["a"], [["1"]], "caption")
        drawn, _ = figures.canvas(1)
        figures.save_figure(drawn, outputs.figure("f"), "title")
        assert [path.suffix[1:] for path in outputs.files] == list(formats)
        assert all(path.stat().st_size > 0 for path in outputs.files)
    assert (tmp_path / "x-pdf" / "f.pdf").read_bytes().startswith(b"%PDF")


def test_a_bar_in_a_cell_is_no_column_in_markdown():
    assert tables.markdown_table(["a"], [["|w|"]]) == "| a |\n| --- |\n| \\|w\\| |\n"
