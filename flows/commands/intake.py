"""Bring items and responses in."""

import argparse
import sys
from collections.abc import Callable

from flows.answers import DONE, HELD, answer, complain, explained, export_table, table_of, words
from flows.settings import Settings


def _items(settings: Settings, options: argparse.Namespace) -> int:
    from tasks import item_bank
    from tasks.workspace import locked
    from warehouse import db, items

    if options.verb == "infer":
        bank = item_bank.infer_bank(options.file, options.mapping)
        sys.stdout.write(item_bank.bank_yaml(bank))
        return DONE
    if options.verb == "add":
        bank = item_bank.read_bank(options.bank)
        with (
            locked(settings.home, "items add", wait_s=settings.lock_wait_s),
            db.connect(settings.warehouse) as connection,
        ):
            counts = items.add_items(connection, item_bank.item_rows(bank))
        return answer(options, counts, f"items: {words(counts)}")
    with db.connect(settings.warehouse, read_only=True) as connection:
        known = items.list_items(connection)
    return answer(options, known, table_of(known, ("item_id", "trait", "score_min", "score_max")))


def _ingest(settings: Settings, options: argparse.Namespace) -> int:
    if options.explain:
        from tasks.exports import explain_export

        explanations = [explain_export(file, options.mapping) for file in options.files]
        return answer(options, explanations, "\n".join(map(explained, explanations)))
    from flows.ingest import ingest

    result = ingest(
        [file.resolve() for file in options.files],
        season=options.season,
        mapping=options.mapping,
        infer_items=options.infer_items,
        validity=options.validity,
        administration_date=options.administration_date,
        home=settings.home,
    )
    for refusal in result.report.refusals:
        complain(f"{refusal.file} was refused: {refusal.reason}")
    answer(options, result, export_table(result.report.exports))
    return DONE if result.status == "done" else HELD


COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    "items": _items,
    "ingest": _ingest,
}
