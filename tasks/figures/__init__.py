"""Pictures for reviewers, as matplotlib figures: they hold counts and shares only.

Figures are made without pyplot: it keeps every figure alive and is not safe in threads.

    canvas      one picture; and sheets, pages of many small panels
    of_item     one item in four pictures
    pages       the same of all items, sixty to a page
    overview    agreement by item, means by subgroup, latency and memory
    replaced    what a backfill changes of released scores
    over_time   administrations: drift, and a season
"""

from tasks.figures.of_item import item_figure
from tasks.figures.over_time import drift_pages, season_figure
from tasks.figures.overview import (
    agreement_pages,
    cost_figure,
    mean_difference_pages,
    overview_figure,
)
from tasks.figures.pages import calibration_pages, confusion_pages, distribution_pages
from tasks.figures.replaced import replaced_pages

__all__ = [
    "agreement_pages",
    "calibration_pages",
    "confusion_pages",
    "cost_figure",
    "distribution_pages",
    "drift_pages",
    "item_figure",
    "mean_difference_pages",
    "overview_figure",
    "replaced_pages",
    "season_figure",
]
