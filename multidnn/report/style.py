"""One look for every figure: sizes, fonts, a colour-blind-safe palette, and saving without global state."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.figure import Figure

from multidnn.errors import InputError
from multidnn.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito, "Color Universal Design" (2008), darkest first; black and yellow are left out (text, too pale on white);
# then four of Paul Tol's muted scheme (2021), for the accelerators of several splits
PALETTE = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#332288", "#882255", "#999933", "#DDCC77",
)  # fmt: skip
INK = "#222222"
MUTED = "#6B6B6B"
GRID = "#DDDDDD"
SEQUENTIAL = "cividis"
HEAT = "YlOrRd"
WIDTH = 7.2  # inches: the text width of a two-column page
FORMATS = (".svg", ".pdf", ".png")

_RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.linewidth": 0.7,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    # text stays text: searchable, and small; the same file comes out twice
    "svg.fonttype": "none",
    "svg.hashsalt": "multidnn",
    "pdf.fonttype": 42,
    "savefig.dpi": 150,
}


@contextmanager
def canvas(out: Path, height: float, title: str, width: float = WIDTH) -> Iterator[Figure]:
    """Yield an empty figure (inches) in the common style; save it to `out` when the block ends well.

    Raises:
        InputError: the suffix of `out` is none of `FORMATS`.
    """
    out = Path(out)
    if out.suffix not in FORMATS:
        raise InputError(f"{out}: cannot draw a {out.suffix or 'suffixless'} file, allowed are {', '.join(FORMATS)}")
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        metadata = {"Title": title}
        if out.suffix == ".svg":
            metadata["Date"] = None  # type: ignore[assignment]  # None leaves the date out
        elif out.suffix == ".pdf":
            metadata["CreationDate"] = None  # type: ignore[assignment]
        with replacing(out) as temporary:
            figure.savefig(temporary, format=out.suffix[1:], metadata=metadata)


def colours(names: Sequence[str]) -> dict[str, str]:
    """Return one colour per name, in order of first appearance; the palette repeats after ten names."""
    unique = list(dict.fromkeys(names))
    return {name: PALETTE[index % len(PALETTE)] for index, name in enumerate(unique)}


def columns(labels: Sequence[str]) -> int:
    """Return how many columns a legend of `labels` may have to fit into the width of a figure."""
    # inches of a marker with its gaps, and of a letter at the legend's size
    widest = 0.5 + 0.068 * max(map(len, labels))
    return max(1, min(len(labels), int(WIDTH / widest)))


def panels(figure: Figure, rows: Sequence[Sequence[str]]) -> dict[str, "Axes"]:
    """Return a panel per name, in rows that fill the width of `figure` each, all on one vertical scale."""
    made: dict[str, Axes] = {}
    grid = figure.add_gridspec(len(rows), math.lcm(*map(len, rows)))
    for number, names in enumerate(rows):
        span = grid.ncols // len(names)
        for place, name in enumerate(names):
            cell = grid[number, place * span : (place + 1) * span]
            made[name] = figure.add_subplot(cell, sharey=next(iter(made.values()), None))
            # inner panels have the scale of the one on the left
            made[name].tick_params(labelleft=place == 0)
    return made


def grid(axes: "Axes", axis: str = "y") -> None:
    """Draw the light grid behind the data along `axis`."""
    axes.grid(True, axis=axis)  # type: ignore[arg-type]
    axes.tick_params(length=0 if axis == "both" else 3)


def on(colour: str) -> str:
    """Return the ink, dark or white, that reads on a background of `colour` (WCAG 2 contrast)."""
    channels = [
        value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4
        for value in matplotlib.colors.to_rgb(colour)
    ]
    luminance = 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
    return "white" if 1.05 / (luminance + 0.05) >= (luminance + 0.05) / 0.0682 else INK
