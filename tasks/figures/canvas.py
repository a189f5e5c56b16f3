"""One picture, or a sheet of many small panels."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

MACHINE = "#1d5fa8"
HUMAN = "#c9ced6"
INK = "#1c1f24"
RULE = "#8a919c"
FAIL = "#b3261e"
FLAG = "#a86500"
STATUS_COLOURS = {"FAIL": FAIL, "FLAG": FLAG}
SUPPRESSED = "fewer than {} responses: not shown"

COLUMNS, ROWS = 10, 6
PANEL_WIDTH, PANEL_HEIGHT = 1.5, 1.3  # inches
LETTERS = 22  # of a panel's name, in the small type of a sheet

Colour = str | tuple[float, float, float, float]
Point = tuple[float, float]
Entry = TypeVar("Entry")


def canvas(title: str, *, width: float, height: float) -> tuple[Figure, Axes]:
    """An empty picture with one pair of axes, sizes in inches."""
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    plain(axes, title)
    return figure, axes


def plain(axes: Axes, title: str) -> None:
    """Give axes our type sizes, and a title that is shown as it is."""
    # Item ids may hold "$", which would otherwise begin a formula.
    axes.set_title(title, fontsize=9, loc="left", parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)


def shortened(name: str, letters: int = LETTERS) -> str:
    """The name in that many letters: ids differ most at their ends, so the middle is left out."""
    if len(name) <= letters:
        return name
    front = (letters - 1) // 2
    return f"{name[:front]}…{name[len(name) - (letters - 1 - front) :]}"


class Sheet:
    """A page of small panels, all on one pair of axes: sixty axes would take seconds to lay out.

    Each panel has coordinates from 0 to 1 both ways, with its name above.
    """

    def __init__(self, title: str, panels: int) -> None:
        self.rows = max(1, -(-panels // COLUMNS))
        self.figure = Figure(
            figsize=(COLUMNS * PANEL_WIDTH, 0.5 + self.rows * PANEL_HEIGHT), dpi=110
        )
        top = 1 - 0.4 / float(self.figure.get_figheight())
        self.axes = self.figure.add_axes((0.005, 0.005, 0.99, top - 0.005))
        self.axes.set_xlim(0, COLUMNS)
        self.axes.set_ylim(self.rows, 0)
        self.axes.set_axis_off()
        self.axes.set_title(title, fontsize=10, loc="left", parse_math=False)
        self._boxes: list[Sequence[Point]] = []
        self._fills: list[tuple[float, float, float, float]] = []
        self._lines: list[Sequence[Point]] = []
        self._strokes: list[tuple[float, float, float, float]] = []
        self._dots: dict[str, list[Point]] = {}
        self._place = 0

    def panel(self, name: str, note: str, status: str = "") -> None:
        """Go on to the next panel; a failed or flagged rule shows in the colour of its name."""
        row, column = divmod(self._place, COLUMNS)
        self._place += 1
        self._left, self._top = column + 0.04, row + 0.27
        colour = STATUS_COLOURS.get(status, INK)
        for text, above, size in ((shortened(name), 0.15, 6.5), (note, 0.03, 5.5)):
            self.axes.text(
                self._left, self._top - above, text, fontsize=size, color=colour, parse_math=False
            )

    def box(self, x: float, y: float, width: float, height: float, fill: Colour) -> None:
        """A filled rectangle; x and y are its lower left corner."""
        corners = ((x, y), (x + width, y), (x + width, y + height), (x, y + height))
        self._boxes.append([self._at(*corner) for corner in corners])
        self._fills.append(to_rgba(fill))

    def line(self, points: Iterable[Point], colour: Colour) -> None:
        """A line through points."""
        self._lines.append([self._at(*point) for point in points])
        self._strokes.append(to_rgba(colour))

    def dots(self, points: Iterable[Point], colour: str) -> None:
        """Dots at points."""
        self._dots.setdefault(colour, []).extend(self._at(*point) for point in points)

    def say(self, text: str) -> None:
        """Words in the middle of the panel, where there is nothing to draw."""
        x, y = self._at(0.5, 0.5)
        self.axes.text(x, y, text, fontsize=5.5, ha="center", va="center", color=RULE)

    def finished(self) -> Figure:
        """The page."""
        self.axes.add_collection(PolyCollection(self._boxes, facecolors=self._fills), False)
        lines = LineCollection(self._lines, colors=self._strokes, linewidths=0.9)
        self.axes.add_collection(lines, False)
        for colour, points in self._dots.items():
            xs, ys = zip(*points, strict=True) if points else ((), ())
            self.axes.scatter(xs, ys, s=5, color=colour, zorder=3, linewidths=0)
        return self.figure

    def _at(self, x: float, y: float) -> Point:
        return self._left + 0.88 * x, self._top + 0.68 * (1 - y)


def batches(entries: Iterable[Entry], size: int = COLUMNS * ROWS) -> Iterator[list[Entry]]:
    """The entries of one page after the other."""
    waiting = iter(entries)
    while batch := list(islice(waiting, size)):
        yield batch
