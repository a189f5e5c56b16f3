"""Files in folders and in S3-compatible stores: whole, found again, and refused when damaged."""

import secrets
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from object_stores import bucket

from warehouse import parts
from warehouse.parts import DamagedFileError
from warehouse.storage import LocationError, ObjectPath, location, readable, url_of

__all__ = ["bucket"]

TABLE = pa.table({"number": list(range(30)), "word": [f"w{i % 7}" for i in range(30)]})


def test_any_reader_of_parquet_reads_a_sealed_table(tmp_path: Path) -> None:
    path = tmp_path / "sealed.parquet"
    parts.write(path, TABLE, [10, 20])
    assert pq.read_table(path).equals(TABLE)
    with parts.open_parquet(path) as file:
        assert (file.num_row_groups, file.read_row_group(1).num_rows) == (2, 20)
    assert parts.read(path).equals(TABLE)
    parts.write(path, TABLE.slice(0, 0))
    assert parts.read(path).equals(TABLE.slice(0, 0))


def test_no_byte_of_a_sealed_table_changes_unseen(tmp_path: Path) -> None:
    path = tmp_path / "sealed.parquet"
    parts.write(path, TABLE)
    content = path.read_bytes()
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(DamagedFileError):
            parts.read(path)


def test_a_truncated_or_lengthened_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sealed.parquet"
    parts.write(path, TABLE)
    content = path.read_bytes()
    for damaged in [*(content[:end] for end in range(len(content))), content + b"x", content * 2]:
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError):
            parts.read(path)
    path.unlink()
    with pytest.raises(DamagedFileError, match="FileNotFoundError"):
        parts.read(path)


def test_halves_of_files_are_cleared_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "season=s").mkdir()
    left = [tmp_path / ".a.parquet.1f.tmp", tmp_path / "season=s" / ".b.parquet.2e.tmp"]
    kept = [tmp_path / "a.parquet", tmp_path / "season=s" / "b.parquet", tmp_path / ".lock"]
    for path in (*left, *kept):
        path.touch()
    assert parts.clear_unfinished(tmp_path) == 2
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)


def test_where_a_setting_points() -> None:
    assert location("/srv/grade") == Path("/srv/grade") == location("file:///srv/grade")
    place = location("s3://school/night/?region=eu-1") / "parts" / "a.parquet"
    assert isinstance(place, ObjectPath)
    assert (str(place), place.name) == ("s3://school/night/parts/a.parquet", "a.parquet")
    assert str(place.with_name("b")) == "s3://school/night/parts/b"
    assert location(url_of(place)) == place
    for wrong in ("s3://key:secret@school/night", "s3://school/x?secret_key=abc"):
        with pytest.raises(LocationError, match="credentials") as found:
            location(wrong)
        assert "secret@" not in str(found.value)
        assert "abc" not in str(found.value)
    with pytest.raises(LocationError, match="names no bucket"):
        location("s3:///night")
    with pytest.raises(LocationError, match="no place for files"):
        (location("gopher://school/night") / "a").exists()


def test_an_upload_that_fails_takes_nothing_away(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, new = location(bucket) / "kept" / "a.parquet", location(bucket) / "kept" / "b.parquet"
    parts.write(place, TABLE)

    def broken(*_: object) -> None:
        raise OSError("the network is gone")

    monkeypatch.setattr(parts.fs, "copy_files", broken)
    for one in (place, new):
        with (
            pytest.raises(OSError, match="the network is gone"),
            parts.whole_file(one) as temporary,
        ):
            temporary.write_bytes(b"half of it")
    assert parts.read(place).num_rows == TABLE.num_rows
    assert not new.exists()


def test_a_store_keeps_whole_files(bucket: str, tmp_path: Path) -> None:
    root = location(bucket) / "files"
    assert isinstance(root, ObjectPath)
    place = root / "season=20%2F27" / "a.parquet"
    assert not place.exists()
    assert list(root.rglob("*.parquet")) == []
    parts.write(place, TABLE, [10, 20])
    assert place.exists()
    assert list(root.rglob("*.parquet")) == [place]
    assert list(root.glob("*.parquet")) == []
    assert parts.read(place).equals(TABLE)
    filters = [("number", "=", 5)]
    assert pq.read_table(readable(place), filters=filters)["word"].to_pylist() == ["w5"]
    with parts.open_parquet(place) as file:
        assert file.read_row_group(1).num_rows == 20
    large = secrets.token_bytes(12_000_000)  # more than a store takes in one piece
    with parts.whole_file(root / "large") as temporary:
        temporary.write_bytes(large)
    assert (root / "large").read_bytes() == large
    with pytest.raises(ZeroDivisionError), parts.whole_file(root / "none") as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert not (root / "none").exists()
    place.unlink()
    place.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        place.unlink()
    with pytest.raises(DamagedFileError):
        parts.read(place)


def test_a_store_that_does_not_answer_has_no_files() -> None:
    place = location("s3://school/night?endpoint_override=127.0.0.1:9&scheme=http") / "a"
    assert not parts.is_there(place)
