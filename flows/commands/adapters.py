"""Bring adapters about, and choose among them."""

import argparse
from collections.abc import Callable
from typing import Any

from rich.markup import escape

from flows.answers import DONE, HELD, answer, complain, trained_table
from flows.settings import Settings


def _train(settings: Settings, options: argparse.Namespace) -> int:
    from flows.train import train

    result = train(
        options.seasons,
        options.items,
        options.method,
        administration_date=options.administration_date,
        home=settings.home,
    )
    return _trained(options, result)


def _distill(settings: Settings, options: argparse.Namespace) -> int:
    from flows.distill import distill

    result = distill(
        options.seasons,
        options.items,
        options.method,
        options.most_loss,
        administration_date=options.administration_date,
        home=settings.home,
    )
    return _trained(options, result)


def _trained(options: argparse.Namespace, result: Any) -> int:
    answer(options, result, trained_table(result))
    for row in result.trained:
        if row.verdict == "ask":
            complain(
                f"{row.item_id} ({row.trait}) waits for your decision: {row.reason}; to decide for "
                f"it: gradeline promote {row.item_id} v{row.version} --trait {row.trait} --by NAME "
                "--reason WHY"
            )
    for item in result.untrained:
        complain(f"{item.item_id} ({item.trait}) has no new adapter: {item.reason}")
    return DONE if result.status == "done" else HELD


def _promote(settings: Settings, options: argparse.Namespace) -> int:
    from flows.promote import promote

    result = promote(
        options.item,
        options.version,
        options.by,
        options.reason,
        trait=options.trait,
        home=settings.home,
    )
    before = "nobody" if result.before is None else f"v{result.before}"
    item = f"{result.item_id} ({result.trait})"
    told = f"v{result.version} scores item {item} from now on; {before} did so far"
    answer(options, result, told)
    return DONE


def _import_adapter(settings: Settings, options: argparse.Namespace) -> int:
    from flows.import_adapter import import_adapter

    result = import_adapter(
        options.folder.resolve(),
        options.item,
        options.trait,
        administration_date=options.administration_date,
        home=settings.home,
    )
    happened = "imported" if result.is_new else "had been imported before"
    shown = f"{result.item_id} ({result.trait}): {happened}, v{result.version} is {result.alias}"
    return answer(options, result, escape(shown))


COMMANDS: dict[str, Callable[[Settings, argparse.Namespace], int]] = {
    "train": _train,
    "distill": _distill,
    "promote": _promote,
    "import-adapter": _import_adapter,
}
