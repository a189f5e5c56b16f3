"""Columns are found by name, by layout or by a mapping file, and never guessed."""

from pathlib import Path

import pytest

from tasks.columns import Rating, map_columns
from tasks.mapping_file import MappingFile, read_mapping
from tasks.reasons import ExportRefusedError


def mapping_file(folder: Path, text: str) -> Path:
    path = folder / "mapping.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_canonical_names() -> None:
    header = ["text", "item_id", "response_id", "season", "human_score", "human_score_2", "x"]
    columns = map_columns(header, None)
    assert columns.problems == ()
    assert columns.positions == {"text": 0, "item_id": 1, "response_id": 2, "season": 3}
    assert columns.ratings == (Rating(None, 4, 5),)
    assert columns.ignored == ("x",)


@pytest.mark.parametrize(
    "header",
    [
        ["ID", "Question ID", "Student Answer"],
        ["responseId", "taskId", "response"],
        ["Essay-ID", "prompt id", "ESSAY"],
        ["Antwort ID", "Aufgabe", "Antwort"],
    ],
)
def test_synonyms(header: list[str]) -> None:
    columns = map_columns(header, None)
    assert columns.problems == ()
    assert [columns.names[name] for name in ("response_id", "item_id", "text")] == header


def test_two_candidates_are_refused_and_the_way_out_is_told() -> None:
    columns = map_columns(["id", "item_id", "text", "answer"], None)
    assert "'text' and 'answer' could each be text" in columns.shown_problems[0]
    (problem,) = columns.problems
    assert "2 columns could each be text" in problem
    assert "--mapping" in problem


def test_a_name_twice_is_refused() -> None:
    assert "could each be text" in map_columns(["id", "item", "text", "text"], None).problems[0]


def test_repeated_names_that_mean_nothing_here_are_ignored() -> None:
    assert map_columns(["id", "item", "text", "1.0", "1.0"], None).problems == ()


def test_a_missing_column_is_named_with_the_headers() -> None:
    columns = map_columns(["id", "text", "points"], None)
    assert "no column for item_id among the headers" in columns.shown_problems[0]
    assert "'points'" in columns.shown_problems[0]
    assert "no column for item_id" in columns.problems[0]


@pytest.mark.parametrize(
    ("header", "mapping"),
    [
        (["the water went up", "answer", "S-77"], None),
        (["answer", "response", "the water went up", "S-77"], None),
        (["the water went up", "S-77"], MappingFile(columns={"text": "the water"})),
    ],
)
def test_problems_quote_no_cell_of_the_first_row(
    header: list[str], mapping: MappingFile | None
) -> None:
    columns = map_columns(header, mapping)
    assert columns.problems
    assert len(columns.problems) == len(columns.shown_problems)
    for cell in ("went up", "S-77"):
        assert cell not in repr(columns.problems)


def test_without_a_header_row_no_cell_is_quoted() -> None:
    columns = map_columns(["0001", "SCI4", "the water went up"], None)
    assert "header row is needed" in columns.problems[0]
    assert "water" not in repr(columns.problems) + repr(columns.ignored)


def test_asap_sas() -> None:
    columns = map_columns(["Id", "EssaySet", "Score1", "Score2", "EssayText"], None)
    assert columns.positions == {"response_id": 0, "item_id": 1, "text": 4}
    assert columns.ratings == (Rating(None, 2, 3),)
    assert set(columns.found_by.values()) == {"the ASAP-SAS layout"}


def test_asap_sas_test_part_has_no_scores() -> None:
    columns = map_columns(["Id", "EssaySet", "EssayText"], None)
    assert (columns.problems, columns.ratings) == ((), ())


def test_asap_aes_has_the_raters_of_two_domains() -> None:
    header = "essay_id essay_set essay rater1_domain1 rater2_domain1 rater3_domain1 domain1_score"
    more = " rater1_domain2 rater2_domain2 domain2_score"
    columns = map_columns((header + more).split(), None)
    assert columns.ratings == (Rating(None, 3, 4), Rating("domain2", 7, 8))
    assert "domain1_score" in columns.ignored


def test_mapping_file_replaces_detection_of_what_it_names(tmp_path: Path) -> None:
    text = "columns: {text: Q7, item_id: code}\nconstants: {season: 2026-spring}\ndelimiter: tab\n"
    mapping = read_mapping(mapping_file(tmp_path, text))
    assert mapping is not None
    columns = map_columns(["id", "code", "Q7", "answer"], mapping)
    assert columns.problems == ()
    assert columns.positions == {"response_id": 0, "item_id": 1, "text": 2}
    assert columns.constants == {"season": "2026-spring"}
    assert mapping.delimiter == "\t"


def test_mapping_file_with_a_column_per_trait() -> None:
    mapping = MappingFile.model_validate(
        {
            "traits": {
                "ideas": {"human_score": "Ideas 1", "human_score_2": "Ideas 2"},
                "style": {"human_score": "Style"},
            }
        }
    )
    header = ["id", "item", "text", "Ideas 1", "Ideas 2", "Style", "score"]
    columns = map_columns(header, mapping)
    assert columns.ratings == (Rating("ideas", 3, 4), Rating("style", 5, None))
    assert columns.ignored == ("score",)


def test_mapping_file_with_subgroups() -> None:
    mapping = MappingFile(subgroups={" first language ": "L1", "window": "Season"})
    header = ["id", "item", "text", "L1", "Season"]
    columns = map_columns(header, mapping)
    assert columns.problems == ()
    assert columns.subgroups == {"first language": 3, "window": 4}
    assert columns.positions == {"response_id": 0, "item_id": 1, "text": 2}
    assert columns.names["subgroup first language"] == "L1"
    assert columns.ignored == ()


@pytest.mark.parametrize(
    ("header", "columns"),
    [("student_id", {}), ("Essay", {}), ("Name", {"student_id": "Name"}), ("id", {})],
)
def test_a_subgroup_is_no_column_that_tells_students_apart(
    header: str, columns: dict[str, str]
) -> None:
    names = [*dict.fromkeys(["id", "item", "answer", header])]
    found = map_columns(names, MappingFile(columns=columns, subgroups={"L1": header}))
    assert any("name one that puts students into groups" in problem for problem in found.problems)


def test_an_absent_subgroup_column_is_answered_with_the_nearest() -> None:
    header = ["id", "item", "text", "Language"]
    columns = map_columns(header, MappingFile(subgroups={"L1": "language"}))
    assert "'language' that is not there; the nearest header is 'Lang" in columns.shown_problems[0]
    assert columns.subgroups == {}


def test_an_absent_column_is_answered_with_the_nearest() -> None:
    mapping = MappingFile(columns={"text": "Respnose"})
    (problem,) = map_columns(["id", "item_id", "Response"], mapping).shown_problems
    assert "'Respnose' that is not there; the nearest header is 'Response'" in problem


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colums: {}", "unknown key 'colums'; the nearest known one is 'columns'"),
        ("columns: {txt: a}", "unknown key 'txt'; the nearest known one is 'text'"),
        ("constants: {seson: a}", "unknown key 'seson'; the nearest known one is 'season'"),
        ("delimiter: ab", "one character"),
        ("encoding: utf-9", "no known encoding"),
        ("quoting: none", "quoting"),
        ("traits: {ideas: {human_scor: a}}", "the nearest known one is 'human_score'"),
        ("columns: [", "mapping.yaml"),
        ("season: a\nseason: b", "given twice"),
        ("subgroups: {'': L1}", "subgroups: the attribute '' is empty"),
        (f"subgroups: {{{'x' * 101}: L1}}", "longer than 100 characters"),
        ('subgroups: {"a\\tb": L1}', "control character"),
        ("subgroups: {a: L1, ' a': L2}", "an attribute is given twice"),
    ],
)
def test_a_faulty_mapping_file_says_where(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ExportRefusedError) as caught:
        read_mapping(mapping_file(tmp_path, text))
    assert said in str(caught.value)


def test_an_absent_mapping_file(tmp_path: Path) -> None:
    with pytest.raises(ExportRefusedError, match="cannot be read"):
        read_mapping(tmp_path / "none.yaml")
