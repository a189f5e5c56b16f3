"""Item banks: what is read, what is refused and with which words."""

import json
from pathlib import Path

import pytest

from tasks.item_bank import BankError, bank_yaml, infer_bank, item_rows, read_bank
from tasks.reasons import ExportRefusedError


def bank_file(folder: Path, items: str) -> Path:
    path = folder / "bank.yaml"
    path.write_text("items:\n" + items, encoding="utf-8")
    return path


def export_file(folder: Path, text: str) -> Path:
    path = folder / "scored.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_item_without_traits_has_one(tmp_path: Path) -> None:
    path = bank_file(tmp_path, "- {item_id: 007, score_min: 0, score_max: 3}")
    (row,) = item_rows(read_bank(path))
    assert (row.item_id, row.trait, row.score_min, row.score_max) == ("007", "overall", 0, 3)
    assert (row.prompt, row.rubric, row.reference_answers) == (None, None, ())


@pytest.mark.parametrize("item_id", ["0417", "1e3", "2026-03-12", "yes", "0x10", "1_000"])
def test_ids_are_the_characters_in_the_file(tmp_path: Path, item_id: str) -> None:
    path = bank_file(tmp_path, f"- {{item_id: {item_id}, score_min: 0, score_max: 3}}")
    assert read_bank(path).items[0].item_id == item_id


def test_traits_on_the_items_scale_or_their_own(tmp_path: Path) -> None:
    path = bank_file(
        tmp_path,
        "- item_id: E\n  score_min: 1\n  score_max: 6\n"
        "  traits: [ideas, {trait: style, score_max: 4}]\n",
    )
    rows = item_rows(read_bank(path))
    assert [(r.trait, r.score_min, r.score_max) for r in rows] == [("ideas", 1, 6), ("style", 1, 4)]


def test_what_is_reported_and_where_it_is_cut(tmp_path: Path) -> None:
    path = bank_file(
        tmp_path,
        "- {item_id: A, score_min: 0, score_max: 3}\n"
        "- item_id: E\n  score_min: 1\n  score_max: 6\n  reported: scaled\n"
        "  cut_scores: [3, 5]\n"
        "  traits: [ideas, {trait: style, score_max: 4, reported: rounded, cut_scores: []}]\n",
    )
    bank = read_bank(path)
    assert [(r.trait, r.reported, r.cut_scores) for r in item_rows(bank)] == [
        ("overall", "rounded", ()),
        ("ideas", "scaled", (3, 5)),
        ("style", "rounded", ()),
    ]
    path.write_text(bank_yaml(bank), "utf-8")
    assert read_bank(path) == bank


def test_a_rubric_by_score_point_is_kept_as_json(tmp_path: Path) -> None:
    path = bank_file(
        tmp_path, "- {item_id: A, score_min: 0, score_max: 1, rubric: {0: nein, 1: schön}}"
    )
    (row,) = item_rows(read_bank(path))
    assert row.rubric is not None
    assert json.loads(row.rubric) == {"0": "nein", "1": "schön"}


@pytest.mark.parametrize(
    ("items", "said"),
    [
        (
            "- {item_id: A, score_min: 0, score_mx: 3}",
            "items[1]: unknown key 'score_mx'; the nearest known one is 'score_max'",
        ),
        (
            "- {item_id: A, score_min: 0, score_max: 3, traits: [{trait: a, scoremax: 3}]}",
            "the nearest known one is 'score_max'",
        ),
        ("- {item_id: A, score_min: 0}", "items[1].score_max"),
        ("- {item_id: A, score_min: 3, score_max: 3}", "item A (overall): score_max 3"),
        ("- {item_id: '', score_min: 0, score_max: 3}", "items[1].item_id"),
        ("- {item_id: A, score_min: low, score_max: 3}", "items[1].score_min"),
        ("- {item_id: A, item_id: B, score_min: 0, score_max: 3}", "'item_id' is given twice"),
        ("- {item_id: A, score_min: 0, score_max: 3, traits: [a, a]}", "a trait twice"),
        (
            "- {item_id: A, score_min: 0, score_max: 3}\n" * 2,
            "item A is there twice",
        ),
        (
            "- {item_id: A, score_min: 0, score_max: 3, cut_scores: [0, 2]}",
            "item A (overall): cut_scores [0, 2] are not above score_min 0",
        ),
        ("- {item_id: A, score_min: 0, score_max: 3, cut_scores: [4]}", "at most score_max 3"),
        ("- {item_id: A, score_min: 0, score_max: 3, cut_scores: [2, 1]}", "do not ascend"),
        (
            "- {item_id: A, score_min: 1, score_max: 6, cut_scores: [5], "
            "traits: [a, {trait: b, score_max: 4}]}",
            "item A (b): cut_scores [5]",
        ),
        ("- {item_id: A, score_min: 0, score_max: 3, reported: trimmed}", "items[1].reported"),
        ("- !!python/object/apply:os.getcwd []", "items[1]"),
        ("- [", "bank.yaml"),
    ],
)
def test_a_faulty_bank_says_where_and_why(tmp_path: Path, items: str, said: str) -> None:
    with pytest.raises(BankError) as caught:
        read_bank(bank_file(tmp_path, items))
    assert said in str(caught.value)


def test_an_absent_bank(tmp_path: Path) -> None:
    with pytest.raises(BankError, match="cannot be read"):
        read_bank(tmp_path / "bank.yaml")


def test_an_inferred_bank_has_the_scales_that_scores_span(tmp_path: Path) -> None:
    rows = ["1,A,0,1,x", "2,A,2,,x", "3,B,1.5,3,x", "4,B,off,,x", "5,C,,,x"]
    path = export_file(tmp_path, "id,item,score1,score2,text\n" + "\n".join(rows))
    found = item_rows(infer_bank(path, None))
    assert [(r.item_id, r.trait, r.score_min, r.score_max) for r in found] == [
        ("A", "overall", 0, 2),
        ("B", "overall", 1, 3),
    ]


def test_an_inferred_bank_has_traits(tmp_path: Path) -> None:
    rows = ["1,E,ideas,1,x", "1,E,style,2,x", "2,E,ideas,6,y", "2,E,style,4,y"]
    path = export_file(tmp_path, "id,item,trait,score,text\n" + "\n".join(rows))
    bank = infer_bank(path, None)
    assert [(r.trait, r.score_min, r.score_max) for r in item_rows(bank)] == [
        ("ideas", 1, 6),
        ("style", 2, 4),
    ]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = export_file(tmp_path, "id,item,trait,score,text\n1,007,a,1,x\n2,007,a,6,y\n")
    bank = infer_bank(path, None)
    (tmp_path / "bank.yaml").write_text(bank_yaml(bank), "utf-8")
    assert read_bank(tmp_path / "bank.yaml") == bank


def test_one_score_point_makes_no_scale(tmp_path: Path) -> None:
    path = export_file(tmp_path, "id,item,score,text\n1,A,1,x\n2,A,1,y\n")
    with pytest.raises(BankError, match="only one score point for A"):
        infer_bank(path, None)


def test_no_scores_make_no_bank(tmp_path: Path) -> None:
    with pytest.raises(BankError, match="no human scores"):
        infer_bank(export_file(tmp_path, "id,item,text\n1,A,x\n"), None)


def test_inferring_needs_the_columns(tmp_path: Path) -> None:
    with pytest.raises(ExportRefusedError, match="no column for item_id"):
        infer_bank(export_file(tmp_path, "id,score,text\n1,1,x\n"), None)
