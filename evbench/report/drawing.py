"""matplotlib -> SVG that is part of an HTML page: text stays text, and colours are those of the page, dark or light."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from evbench.report.markup import Markup
from evbench.results import Side

INK, MUTED, GRID, PAPER, BASELINE, OPTIMIZED, SAVED, ADDED = (f"#00000{number}" for number in range(1, 9))
"""Stand in for the page's colours, which matplotlib does not know."""
VARIABLES = {
    INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)", PAPER: "var(--paper)", BASELINE: "var(--baseline)",
    OPTIMIZED: "var(--optimized)", SAVED: "var(--saved)", ADDED: "var(--added)",
}  # fmt: skip
WIDTH = 5.0
"""Inches, of 72 units each: close to the pixels of a phone, so that text is as large there as it is set here."""
STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 12.0, "text.color": INK, "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.grid.axis": "x",
    "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8, "xtick.color": GRID, "ytick.color": GRID,
    "xtick.labelcolor": MUTED, "ytick.labelcolor": INK, "xtick.labelsize": 11.0, "axes.labelsize": 11.0, "legend.frameon": False,
}  # fmt: skip
SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
"""A hundredth of a unit is less than a pixel of any screen, and the file is smaller by a third."""
LEFT_OUT = ("font-family", "font")
"""Properties that are the page's."""


@contextmanager
def style() -> Iterator[None]:
    """Ours alone, whatever the user has set for matplotlib; and what was set before, afterwards."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def sheet(height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """Panels one below the other, with one x axis. `height` in inches, of the whole."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(panels, 1, sharex=True, squeeze=False)
    return figure, list(axes[:, 0])


def to_svg(figure: Figure, name: str, label: str) -> Markup:
    """As an image with a label for screen readers.

    Args:
        name: Of the figure, in no other figure of the page: ids in it begin with that.
    """
    written = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):  # the same ids each time
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(written.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    used = {link.removeprefix("#") for node in root.iter() if (link := node.get(LINK))}
    for node in root.iter():
        _restyle(node, name, used)
    for size in ("width", "height"):  # the page decides
        del root.attrib[size]
    root.attrib |= {"role": "img", "aria-label": label}
    ElementTree.register_namespace("", SVG.strip("{}"))
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _restyle(node: ElementTree.Element, name: str, used: set[str]) -> None:
    """Colours of the page, ids of this figure, and attributes instead of styles, which a strict page does not allow."""
    if (identity := node.get("id")) is not None:
        if identity in used or node.tag == f"{SVG}clipPath":
            node.set("id", f"{name}-{identity}")
        else:
            del node.attrib["id"]
    if (link := node.attrib.pop(LINK, None)) is not None:
        node.set("href", f"#{name}-{link.removeprefix('#')}")
    if (clip := node.get("clip-path")) is not None:
        node.set("clip-path", clip.replace("url(#", f"url(#{name}-"))
    for key in ("d", "x", "y", "transform"):
        if (numbers := node.get(key)) is not None:
            node.set(key, LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", " ".join(numbers.split())))
    for declaration in filter(None, node.attrib.pop("style", "").split(";")):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key not in LEFT_OUT:
            node.set(key, VARIABLES.get(value, value))
    node.text, node.tail = (text if text and text.strip() else None for text in (node.text, node.tail))


def colour(side: Side) -> str:
    return {"baseline": BASELINE, "optimized": OPTIMIZED}[side]


def label_times(axes: Axes, name: str, unit: str) -> None:
    """The panel of one timing: its name, and its times from zero."""
    axes.set_title(name, loc="left", fontsize=12, color=INK)
    axes.set_ylabel(f"time, {unit}")
    axes.set_ylim(0, 1.12 * axes.get_ylim()[1])
    axes.grid(axis="y")
