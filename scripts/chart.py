#!/usr/bin/python3
"""Draws charts for the documents as SVG. The same figures give the same bytes.

    import chart                     from any Python 3; scripts/ must be on sys.path
    chart.lines("docs/x.svg", {"clients": [(0, 0), (5, 300)]}, title="...", x="s", y="up")
    chart.bars("docs/y.svg", ["50 ms", "300 ms"], {"a": [20, 3.3], "b": [40, None]}, y="MB/s")

or

    chart.py FILE.svg <FIGURES.json  what the functions send: {"kind": "lines", ...}

Needs Debian's python3-matplotlib, which only Debian's own Python finds; `scripts/setup.sh
charts` installs it. Text stays text: a browser's sans-serif.
"""

import json
import subprocess
import sys
from pathlib import Path

DEBIAN_PYTHON = "/usr/bin/python3"
# Told apart also without colours: the first is the darkest (Okabe and Ito).
COLOURS = ["#0072b2", "#e69f00", "#999999", "#d55e00", "#009e73", "#cc79a7"]
GREY = "#666666"


def lines(path, series, *, title="", x="", y="", step=False, log_x=False, log_y=False, marks=(), spans=(), size=(8, 4)):
    """Lines over time, or over anything else.

    `series` is {name: [(x, y), ...]}. `step` holds each value until the next. `marks` are
    (x, text): a dotted line. `spans` are (from, to, text): a grey band. `size` is in inches.
    """
    given = dict(locals(), kind="lines")
    _draw(given.pop("path"), given)


def bars(path, groups, series, *, title="", x="", y="", log=True, labels=None, flat=False, base=None, size=(8, 4)):
    """Grouped bars, on a log scale unless `log` is false.

    `groups` are the names along the axis; `series` is {name: [a value for each group]}, where
    None is no bar. Each bar has its value above it, or its text of `labels`, shaped as
    `series`. `flat` lays the bars down, for long names; the first group is at the top. `base`
    is where bars begin and has a line across, such as 1 of ratios.
    """
    given = dict(locals(), kind="bars")
    _draw(given.pop("path"), given)


def _draw(path, figures):
    """In a process of Debian's Python, whichever this one is."""
    python = DEBIAN_PYTHON if Path(DEBIAN_PYTHON).exists() else sys.executable
    command = [python, __file__, str(path)]
    subprocess.run(command, input=json.dumps(figures), text=True, check=True)


# --- In that process -------------------------------------------------------------------


def _plot_lines(axes, f):
    for colour, (name, points) in zip(COLOURS, f["series"].items(), strict=False):
        kind = {"drawstyle": "steps-post"} if f["step"] else {}
        axes.plot(*zip(*points, strict=True), color=colour, label=name, linewidth=1.6, **kind)
    top = axes.get_xaxis_transform()
    for begin, end, text in f["spans"]:
        axes.axvspan(begin, end, color="#eeeeee", zorder=0)
        axes.text(begin, 1.01, text, transform=top, fontsize=8, color=GREY)
    for where, text in f["marks"]:
        axes.axvline(where, color=GREY, linestyle=":", linewidth=1)
        axes.text(where, 1.01, text, transform=top, fontsize=8, color=GREY)
    if f["log_x"]:
        axes.set_xscale("log")
        _plain_numbers(axes.xaxis)
    if f["log_y"]:
        axes.set_yscale("log")
        _plain_numbers(axes.yaxis)
    else:
        axes.set_ylim(bottom=0)
    axes.grid(color="#dddddd", linewidth=0.6)


def _plain_numbers(axis):
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def _plot_bars(axes, f):
    names, thick = list(f["series"]), 0.8 / len(f["series"])
    labels = f["labels"] or {}
    for number, (colour, name) in enumerate(zip(COLOURS, names, strict=False)):
        places = [group - 0.4 + (number + 0.5) * thick for group in range(len(f["groups"]))]
        values = f["series"][name]
        shown = [(p, v, i) for i, (p, v) in enumerate(zip(places, values, strict=True)) if v is not None]
        at, high = [p for p, _, _ in shown], [v for _, v, _ in shown]
        draw = axes.barh if f["flat"] else axes.bar
        begin = f["base"] or 0
        lengths = [v - begin for v in high]
        box = draw(at, lengths, thick, color=colour, label=name, **{"left" if f["flat"] else "bottom": begin})
        texts = labels.get(name)
        axes.bar_label(box, [texts[i] if texts else f"{v:g}" for _, v, i in shown], padding=2, fontsize=7)
    axis = axes.yaxis if f["flat"] else axes.xaxis
    axis.set_ticks(range(len(f["groups"])), f["groups"])
    axis.set_tick_params(length=0)
    if f["flat"]:
        axes.set_ylim(len(f["groups"]) - 0.4, -0.6)
    known = [v for values in f["series"].values() for v in [*values, f["base"]] if v is not None]
    lowest, highest = min(known), max(known)
    limits, scale = (axes.set_xlim, axes.set_xscale) if f["flat"] else (axes.set_ylim, axes.set_yscale)
    if f["log"]:
        scale("log")
        _plain_numbers(axes.xaxis if f["flat"] else axes.yaxis)
        # The smallest bar is seen, and the text of the largest has room.
        limits(lowest / 2, highest * (highest / lowest) ** 0.15)
    else:
        limits(0, highest * 1.15)
    if f["base"] is not None:
        (axes.axvline if f["flat"] else axes.axhline)(f["base"], color=GREY, linewidth=1)
    axes.grid(axis="x" if f["flat"] else "y", color="#dddddd", linewidth=0.6)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        import matplotlib
    except ModuleNotFoundError:
        sys.exit("chart: no matplotlib: run scripts/setup.sh charts")
    matplotlib.use("svg")
    # Without these, text is drawn as curves, and names inside the file are random.
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "reachback", "font.family": "sans-serif"})
    from matplotlib import pyplot

    figures = json.load(sys.stdin)
    figure, axes = pyplot.subplots(figsize=figures["size"], layout="constrained")
    {"lines": _plot_lines, "bars": _plot_bars}[figures["kind"]](axes, figures)
    axes.set(xlabel=figures["x"], ylabel=figures["y"])
    # What stands over the axes, from below: texts of marks, then title and legend.
    above = 1.06 if figures.get("marks") or figures.get("spans") else 1.01
    axes.set_title(figures["title"], loc="left", fontsize=10, y=above, pad=2)
    axes.tick_params(labelsize=9)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(figures["series"]) > 1:
        place = {"loc": "lower right", "bbox_to_anchor": (1, above), "borderaxespad": 0}
        axes.legend(frameon=False, fontsize=8, ncol=len(figures["series"]), **place)
    figure.savefig(sys.argv[1], format="svg", metadata={"Date": None, "Creator": None})
    # Its lines end in spaces, which git complains of.
    text = Path(sys.argv[1]).read_text()
    Path(sys.argv[1]).write_text("".join(line.rstrip() + "\n" for line in text.splitlines()))


if __name__ == "__main__":
    main()
