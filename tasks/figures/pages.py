"""Every item in a small panel: confusion matrices, distributions and calibration, by the page."""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from tasks.evaluation import ItemEvaluation
from tasks.figures.canvas import HUMAN, MACHINE, RULE, Sheet, batches
from tasks.report_charts import merged_bins

Statuses = Mapping[tuple[str, str], str]

_BLUES = colormaps["Blues"]


def confusion_pages(items: Sequence[ItemEvaluation], statuses: Statuses) -> Iterator[Figure]:
    """Shares of each row: human scores downwards, machine scores to the right."""
    title = "Confusion matrices: human score downwards, machine score to the right, shaded by row"
    yield from _pages(title, items, statuses, _confusion)


def distribution_pages(items: Sequence[ItemEvaluation], statuses: Statuses) -> Iterator[Figure]:
    """Shares of the score points, lowest left; people grey, machine blue."""
    title = "Score distributions: people grey, machine blue, lowest score left"
    yield from _pages(title, items, statuses, _distribution)


def calibration_pages(items: Sequence[ItemEvaluation], statuses: Statuses) -> Iterator[Figure]:
    """Confidence to the right, exact agreement upwards; on the line it is as promised."""
    title = "Calibration: confidence to the right, share of exact agreement upwards, both 0 to 1"
    yield from _pages(title, items, statuses, _calibration)


def _pages(
    title: str,
    items: Sequence[ItemEvaluation],
    statuses: Statuses,
    draw: Callable[[Sheet, ItemEvaluation], bool],
) -> Iterator[Figure]:
    for batch in batches(items):
        sheet = Sheet(title, len(batch))
        for item in batch:
            sheet.panel(item.name, _note(item), statuses.get((item.item_id, item.trait), ""))
            if not draw(sheet, item):
                sheet.say(f"fewer than {item.small_cell}")
        yield sheet.finished()


def _note(item: ItemEvaluation) -> str:
    shown = item.n_rated >= item.small_cell and item.qwk.value == item.qwk.value
    return f"{item.n_rated} rated" + (f", QWK {item.qwk.value:.2f}" if shown else "")


def _confusion(sheet: Sheet, item: ItemEvaluation) -> bool:
    if item.n_rated < item.small_cell:
        return False
    table = np.array(item.confusion)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    side = 1 / len(table)
    colours = _BLUES(shares / 1.25)
    for row, column in np.ndindex(table.shape):
        place = (column * side, 1 - (row + 1) * side)
        sheet.box(*place, side * 0.94, side * 0.94, tuple(colours[row, column].tolist()))
    return True


def _distribution(sheet: Sheet, item: ItemEvaluation) -> bool:
    series = item.distributions
    if not series:
        return False
    tallest = max(max(shares) for shares in series.values())
    slot = 1 / (item.score_max - item.score_min + 1)
    width = 0.8 * slot / len(series)
    for number, (name, shares) in enumerate(series.items()):
        colour = HUMAN if name == "human" else MACHINE
        for place, share in enumerate(shares):
            x = (place + 0.1) * slot + number * width
            sheet.box(x, 0, width * 0.95, share / tallest, colour)
    sheet.line([(0, 0), (1, 0)], RULE)
    return True


def _calibration(sheet: Sheet, item: ItemEvaluation) -> bool:
    bins = merged_bins(item.calibration, item.small_cell)
    if not bins:
        return False
    points = [(row.confidence, row.exact) for row in bins]
    sheet.line([(0, 1), (0, 0), (1, 0)], RULE)
    sheet.line([(0, 0), (1, 1)], HUMAN)
    sheet.line(points, MACHINE)
    sheet.dots(points, MACHINE)
    return True
