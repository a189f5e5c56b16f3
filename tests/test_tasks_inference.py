"""A shard's part: every column of the ledger, and items that fail alone."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_models_adapters import make_adapter

from models.adapters import Adapter, save_adapter
from models.backbone import Backbone
from models.postprocessing import Scaling, rounded, scaled, trimmed
from tasks.inference import Engine, ShardResult, score_shard
from tasks.shards import Unit, part_path, shard_of, write_plan
from warehouse import parts, schema
from warehouse.texts import response_file

TEXTS = {
    "en": "the bulb is in a closed path and the battery is warm",
    "es": "la bombilla está encendida porque el camino está cerrado",
    "short": "no",
    "rare": "the € is ₴",
}
EXPORT = "e" * 64


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def scaling_adapter(tiny_backbone: Backbone) -> Adapter:
    adapter = make_adapter(tiny_backbone)
    moments = Scaling(human_mean=2.5, human_sd=2.0, machine_mean=1.9, machine_sd=0.2)
    return replace(adapter, scoring=adapter.scoring.model_copy(update={"scaling": moments}))


class Night:
    """A workspace with one item per unit, all with the same four responses."""

    def __init__(self, home: Path, backbone: Path) -> None:
        self.home, self.backbone = home, backbone
        self.units: list[Unit] = []

    def add(self, adapter: Adapter, reported: str) -> Unit:
        digest = save_adapter(self.home / "adapters" / "new", adapter)
        folder = self.home / "adapters" / digest
        if not folder.exists():
            (self.home / "adapters" / "new").rename(folder)
        number = len(self.units)
        self.units.append(Unit(f"item-{number}", "overall", 1, 3, 4, digest, reported))
        return self.units[-1]

    def score(self) -> tuple[ShardResult, dict[str, dict[str, list[Any]]]]:
        """The result, and each item's columns."""
        rows = [
            {
                "response_id": f"{unit.item_id}-{name}",
                "item_id": unit.item_id,
                "season": "2026-spring",
                "text": text,
                "text_sha256": sha256(text),
                "export_sha256": EXPORT,
                "trait": unit.trait,
                "adapter_version": unit.adapter_version,
                "adapter_sha256": unit.adapter_sha256,
            }
            for unit in self.units
            for name, text in TEXTS.items()
        ]
        table = pa.Table.from_pylist(rows)
        responses = self.home / "responses"
        stored = pa.Table.from_pylist(rows, schema=schema.RESPONSES)
        parts.write(response_file(responses, "2026-spring", EXPORT), stored)
        plan = self.home / "parts" / "run.plan.parquet"
        table = table.set_column(
            table.column_names.index("adapter_version"),
            "adapter_version",
            table["adapter_version"].cast(pa.int32()),
        )
        each = [table.slice(start, len(TEXTS)) for start in range(0, len(table), len(TEXTS))]
        shard = shard_of(list(zip(self.units, each, strict=True)), "backbone", "fp32")
        named = pa.array([shard.name] * len(table), pa.string())
        write_plan(plan, table.append_column("shard", named), [shard], "backbone")
        engine = Engine(str(self.backbone), 64, "fp32", "cpu", self.home / "trunk", 1 << 20)
        result = score_shard.fn(plan, shard, responses, self.home / "adapters", engine)
        part = pq.read_table(part_path(plan, shard))
        assert part.schema.remove_metadata() == schema.PARTS
        items = {row["item_id"] for row in part.to_pylist()}
        return result, {
            item: part.filter(pa.compute.field("item_id") == item).to_pydict() for item in items
        }


@pytest.fixture
def night(tmp_path: Path, tiny_backbone_folder: Path) -> Night:
    return Night(tmp_path, tiny_backbone_folder)


def test_a_part_says_what_was_reported_and_what_was_read(
    night: Night, scaling_adapter: Adapter
) -> None:
    plain, mended = night.add(scaling_adapter, "rounded"), night.add(scaling_adapter, "scaled")
    result, columns = night.score()
    assert not result.failures
    first, second = columns[plain.item_id], columns[mended.item_id]
    assert (set(first["reported"]), set(second["reported"])) == ({"rounded"}, {"scaled"})
    scale, moments = scaling_adapter.scale, scaling_adapter.scoring.scaling
    assert moments is not None
    raw = np.array(first["raw_score"])
    np.testing.assert_array_equal(raw, second["raw_score"])
    np.testing.assert_array_equal(first["trimmed_score"], trimmed(raw, scale))
    np.testing.assert_array_equal(first["score"], rounded(raw, scale))
    expected = trimmed(scaled(raw, moments), scale)
    for found in (first, second):
        np.testing.assert_array_equal(found["scaled_score"], expected)
    np.testing.assert_array_equal(second["score"], rounded(expected, scale))
    assert first["score"] != second["score"]
    for found in (first, second):  # of the score that is reported, whichever that is
        stated = [
            p[score - 1] for p, score in zip(found["probabilities"], found["score"], strict=True)
        ]
        np.testing.assert_allclose(found["confidence"], stated, atol=1e-5)


def test_a_part_says_what_is_unusual_about_a_text(night: Night, scaling_adapter: Adapter) -> None:
    unit = night.add(scaling_adapter, "rounded")
    _, columns = night.score()
    found = columns[unit.item_id]
    assert dict(zip(TEXTS, found["language"], strict=True)) == {
        "en": "en",
        "es": "es",
        "short": None,
        "rare": None,
    }
    unknown = dict(zip(TEXTS, found["unknown_tokens"], strict=True))
    assert (unknown["en"], unknown["short"], unknown["rare"]) == (0, 0, 2)
    assert dict(zip(TEXTS, found["tokens"], strict=True))["short"] == 3


def test_an_item_that_scales_needs_an_adapter_that_can(
    night: Night, tiny_backbone: Backbone
) -> None:
    unscaled = make_adapter(tiny_backbone)
    plain, wanting = night.add(unscaled, "rounded"), night.add(unscaled, "scaled")
    result, columns = night.score()
    assert columns.keys() == {plain.item_id}
    assert columns[plain.item_id]["scaled_score"] == [None] * len(TEXTS)
    (failure,) = result.failures
    assert failure.item_id == wanting.item_id
    assert "train it again, or have the item report rounded scores" in failure.reason
