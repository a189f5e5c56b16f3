"""Texts end up sorted, each once, however many pieces they went through."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.exports import IngestOptions, ingest_export
from warehouse import db, schema, text_files
from warehouse.items import ItemRow, add_items


def test_many_pieces_make_one_sorted_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_files, "PIECE_CHARACTERS", 3_000)
    monkeypatch.setattr(text_files, "BATCH_ROWS", 16)
    export, warehouse = tmp_path / "export.csv", tmp_path / "warehouse.duckdb"
    keys = [(f"{number * 37 % 200:03}", "AB"[number % 2]) for number in range(200)]
    seasons = {key: "fall" if number % 3 else "spring" for number, (key, _) in enumerate(keys)}
    rows = "".join(f"{key},{item},{seasons[key]},text of {key}\n" for key, item in keys)
    export.write_text("id,item,season,text\n" + rows + "none,Z,winter,x\n")
    with db.connect(warehouse) as connection:
        add_items(connection, [ItemRow(item, "overall", 0, 3) for item in "AB"])
    options = IngestOptions(None, None, b"k" * 32)
    ingest_export(warehouse, tmp_path / "responses", export, "run", options)
    found = {
        path.parent.name: pq.ParquetFile(path).read()
        for path in (tmp_path / "responses").rglob("*.parquet")
    }
    assert set(found) == {"season=fall", "season=spring"}
    for name, table in found.items():
        assert table.schema.equals(schema.RESPONSES)
        read = list(zip(*(table[c].to_pylist() for c in schema.RESPONSES.names), strict=True))
        expected = sorted((i, k) for k, i in keys if f"season={seasons[k]}" == name)
        assert [(row[1], row[0]) for row in read] == expected
        assert all(row[5] == f"text of {row[0]}" for row in read)
