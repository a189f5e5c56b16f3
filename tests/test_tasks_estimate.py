"""What a backfill would take, from what the like of it has taken."""

import math

import pytest
from rich.console import Console

from tasks.estimate import BackfillEstimate, estimated
from tasks.estimate_told import as_data, estimate_rows, estimate_table
from warehouse.estimates import ItemCounts, Rate

SHORT = ItemCounts("short", "overall", (2,), 1000, 50, 3, 0, 7)
LONG = ItemCounts("long", "ideas", (1, 2), 1000, 0, 0, 0, 0)
NEW = ItemCounts("new", "overall", (), 0, 0, 0, 40, 0)
# Short ones take 1 ms in their batches and long ones 9 ms; loading doubles it over all.
RATES = [Rate("short", "overall", 500, 0.5, 5.0), Rate("long", "ideas", 500, 4.5, 5.0)]


def estimate(*items: ItemCounts, rates: list[Rate] | None = None) -> BackfillEstimate:
    given = RATES if rates is None else rates
    timed = sum(rate.n for rate in given)
    found = tuple(estimated(items, given))
    return BackfillEstimate("v2", found, 2000, timed, 10**9, 5 * 10**9)


def shown(found: BackfillEstimate) -> str:
    console = Console(width=110, record=True)
    console.print(estimate_table(found))
    return " ".join(console.export_text().split())


def test_each_item_takes_its_own_time() -> None:
    found = estimate(SHORT, LONG, NEW)
    assert [item.seconds for item in found.items] == pytest.approx([2.0, 18.0, 0.0])
    assert found.seconds == pytest.approx(20.0)


def test_an_item_never_computed_is_taken_for_an_average_one() -> None:
    found = estimate(ItemCounts("other", "overall", (1,), 100, 0, 0, 0, 0))
    assert (found.seconds, found.items[0].measured) == (pytest.approx(1.0), False)
    assert "1 item taken for average ones" in shown(found)


def test_without_a_timed_run_no_time_is_made_up() -> None:
    found = estimate(SHORT, rates=[])
    assert math.isnan(found.seconds)
    assert "no run here has been timed yet" in shown(found)
    assert estimate(NEW, rates=[]).seconds == 0  # nothing takes no time


def test_totals_disk_and_words() -> None:
    found = estimate(SHORT, LONG, NEW)
    assert found.totals == {"computed": 2000, "copied": 50, "coded": 3, "routed": 40, "kept": 7}
    text = shown(found)
    assert "2,000" in text
    assert "about 20.0 s" in text
    assert "v1, v2" in text
    assert "nothing was done" in text
    assert "TOO SMALL" not in text
    assert as_data(found)["totals"]["routed"] == 40
    assert estimate_rows(found)[-1]["to compute"] == "2,000"


def test_a_disk_that_is_too_small_is_told_before() -> None:
    found = estimate(SHORT)
    full = BackfillEstimate(
        "v2", found.items, 1000, 1, 10**9, 10**6, lost=("v1 of item 7 (ideas)",)
    )
    assert "TOO SMALL" in shown(full)
    assert "v1 of item 7 (ideas) gave scores that stand and is in the registry no more" in shown(
        full
    )
