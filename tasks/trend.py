"""Items from administration to administration, for pictures and tables over time."""

from collections.abc import Iterable

from warehouse.trends import Administration


def in_order(points: Iterable[Administration]) -> list[Administration]:
    """Administrations by day, and within a day by run."""
    return sorted(points, key=lambda point: (point.administration_date, point.run_id))


def of_items(trend: Iterable[Administration]) -> dict[tuple[str, str], list[Administration]]:
    """(item_id, trait) to the item's administrations by day, by item and trait."""
    found: dict[tuple[str, str], list[Administration]] = {}
    for point in sorted(trend, key=lambda p: (p.item_id, p.trait, p.administration_date)):
        found.setdefault((point.item_id, point.trait), []).append(point)
    return found
