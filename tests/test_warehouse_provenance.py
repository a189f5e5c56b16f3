"""Where a run's figures come from: the same data has the same hash, whatever the order."""

from pathlib import Path

from test_warehouse_history import START, Ledger

from warehouse import db, provenance, release


def write(path: Path, names: str, *, human_score: float = 1, text_sha256: str = "sha") -> None:
    """A night of these responses, judged by no limits."""
    with db.connect(path) as connection:
        ledger = Ledger(connection)
        ledger.run("n1", 1, None)
        for name in names:
            ledger.response(name, "plants", text_sha256=text_sha256)
            ledger.score("n1", name, 2, backbone_sha256="b", engine="fp32")
        ledger.insert("human_scores", response_id=names[0], item_id="plants", trait="overall",
                      rater=1, human_score=human_score, export_sha256="e",
                      recorded_at=START)  # fmt: skip


def data_sha256(path: Path, run_id: str | None = "n1") -> str:
    with db.connect(path, read_only=True) as connection:
        return provenance.data_sha256(connection, run_id)


def test_the_data_have_one_hash_whatever_their_order(tmp_path: Path) -> None:
    write(tmp_path / "one", "abc")
    write(tmp_path / "two", "acb")
    found = data_sha256(tmp_path / "one")
    assert len(found) == 64
    assert data_sha256(tmp_path / "two") == data_sha256(tmp_path / "two", None) == found


def test_another_text_response_or_human_score_has_another_hash(tmp_path: Path) -> None:
    write(tmp_path / "one", "ab")
    write(tmp_path / "text", "ab", text_sha256="other")
    write(tmp_path / "response", "abc")
    write(tmp_path / "score", "ab", human_score=2)
    names = ("one", "text", "response", "score")
    assert len({data_sha256(tmp_path / name) for name in names}) == 4
    assert data_sha256(tmp_path / "one", "n9") == ""


def test_what_computed_a_run_and_what_judged_it(tmp_path: Path) -> None:
    write(tmp_path / "one", "ab")
    with db.connect(tmp_path / "one") as connection:
        found = provenance.computed_with(connection, "n1")
        assert found == {"backbone_sha256": "b", "engine": "fp32"}
        assert provenance.computed_with(connection, "n9") == {}
        assert provenance.thresholds(connection, "n1") is None
        release.record_gate(connection, "n1", [], "released", [], "sha", '{"qwk": 0.7}')
        assert provenance.thresholds(connection, "n1") == '{"qwk": 0.7}'
