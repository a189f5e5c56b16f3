"""The public responses as this project sees them: items, scales, a bank and two exports.

Run it to write ``bank.yaml``, ``train.csv`` and ``unseen_answers.csv`` with all 204 items:

    python benchmarks/public_data.py ../shared/data build/public
"""

import argparse
import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

FILES = ("semeval2013.parquet", "saf.parquet")
SPLITS = ("train", "unseen_answers")
# The whole scores of the scale, from 0 up: labels in SemEval's case, quarters of a point in SAF's.
SEMEVAL_LABELS = {"correct": 2, "partially_correct_incomplete": 1}
SEMEVAL_MAX, SAF_MAX = 2, 4
COLUMNS = ("response_id", "item_id", "text", "human_score", "season")


@dataclass(frozen=True)
class PublicItem:
    """One question and its human-scored answers, blank ones left out.

    Attributes:
        item_id: the data's own id with a dot for its colon.
        score_max: the scale runs from 0 to here.
        prompt, reference_answers: as given with the data.
        response_ids: n ids that are unique over all items, made from item, split and row.
        texts: n answers.
        scores: int64 [n].
        unseen: bool [n], true in the unseen_answers split.
    """

    item_id: str
    score_max: int
    prompt: str
    reference_answers: tuple[str, ...]
    response_ids: tuple[str, ...]
    texts: tuple[str, ...]
    scores: NDArray[np.int64]
    unseen: NDArray[np.bool_]


def read_items(folder: Path) -> list[PublicItem]:
    """All items that have training data: 182 of SemEval-2013 Task 7, then 22 of SAF."""
    items: list[PublicItem] = []
    for name in FILES:
        rows = pq.read_table(folder / name).to_pylist()
        trained = {row["task_id"] for row in rows if row["split"] == "train"}
        groups: dict[str, list[dict[str, Any]]] = {task: [] for task in sorted(trained)}
        for row in rows:
            if row["task_id"] in trained and row["split"] in SPLITS and (row["text"] or "").strip():
                groups[row["task_id"]].append(row)
        items += [_item(task, members) for task, members in groups.items()]
    return items


def quality_items(items: Sequence[PublicItem], n_semeval: int = 30) -> list[PublicItem]:
    """The benchmark's items: the n SemEval questions with most answers, and all of SAF's."""
    semeval = [item for item in items if item.score_max == SEMEVAL_MAX]
    saf = [item for item in items if item.score_max == SAF_MAX]
    most = sorted(semeval, key=lambda item: (-len(item.texts), item.item_id))
    return most[:n_semeval] + saf


def write_bank(path: Path, items: Iterable[PublicItem]) -> None:
    """Write the items as a bank that ``gradeline items add`` reads."""
    entries = [
        {
            "item_id": item.item_id,
            "score_min": 0,
            "score_max": item.score_max,
            "prompt": item.prompt,
            "reference_answers": list(item.reference_answers),
        }
        for item in items
    ]
    text = yaml.safe_dump({"items": entries}, allow_unicode=True, sort_keys=False, width=100)
    path.write_text(text, encoding="utf-8")


def write_export(path: Path, items: Iterable[PublicItem], *, unseen: bool, season: str) -> int:
    """Write one split of the items as a CSV export with human scores; returns its rows."""
    rows = [
        (item.response_ids[i], item.item_id, item.texts[i], int(item.scores[i]), season)
        for item in items
        for i in np.flatnonzero(item.unseen == unseen)
    ]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(rows)
    return len(rows)


def _item(task: str, rows: Sequence[dict[str, Any]]) -> PublicItem:
    extra = json.loads(rows[0]["extra"])
    item_id = task.replace(":", ".")
    saf = rows[0]["dataset"].startswith("saf")
    scores = [_quarters(row["score"]) if saf else _label_score(row["extra"]) for row in rows]
    return PublicItem(
        item_id=item_id,
        score_max=SAF_MAX if saf else SEMEVAL_MAX,
        prompt=extra["question"],
        reference_answers=tuple(answer for answer in extra["reference_answers"] if answer),
        response_ids=tuple(f"{item_id}-{row['split']}-{n:04d}" for n, row in enumerate(rows)),
        texts=tuple(row["text"] for row in rows),
        scores=np.array(scores, dtype=np.int64),
        unseen=np.array([row["split"] == "unseen_answers" for row in rows]),
    )


def _label_score(extra: str) -> int:
    return SEMEVAL_LABELS.get(json.loads(extra)["label_5way"], 0)


def _quarters(score: float) -> int:
    """Halves upwards: 0.125 of a point is one quarter."""
    return int(np.floor(SAF_MAX * score + 0.5))


def main() -> None:
    """Write the bank and both exports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder with the public Parquet files")
    parser.add_argument("out", type=Path, help="folder to write to")
    arguments = parser.parse_args()
    items = read_items(arguments.data)
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_bank(arguments.out / "bank.yaml", items)
    train = write_export(arguments.out / "train.csv", items, unseen=False, season="2013-train")
    unseen = write_export(
        arguments.out / "unseen_answers.csv", items, unseen=True, season="2013-unseen"
    )
    print(f"{len(items)} items, {train} responses to train on, {unseen} unseen answers")


if __name__ == "__main__":
    main()
