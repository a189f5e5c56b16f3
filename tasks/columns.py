"""Which column of an export is which: synonyms, known layouts, or a mapping file."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tasks.mapping_file import REQUIRED, MappingFile, known_layout

# Headers as normalise() writes them. German and Spanish ones are what school exports use.
SYNONYMS: dict[str, frozenset[str]] = {
    name: frozenset((name, *others.split()))
    for name, others in {
        "response_id": "id responseid response_number response_uid answer_id submission_id "
        "essay_id antwort_id respuesta_id",
        "item_id": "item itemid item_number task_id taskid task question_id questionid question "
        "prompt_id promptid essay_set essayset aufgabe_id aufgaben_id aufgabe pregunta_id "
        "pregunta",
        "text": "response response_text responsetext answer answer_text answertext "
        "student_answer student_response essay essay_text essaytext antwort antworttext "
        "respuesta",
        "student_id": "student studentid pupil_id learner_id user_id userid candidate_id "
        "examinee_id sis_id participant_id schueler_id schüler_id estudiante_id alumno_id",
        "submitted_at": "submitted submitted_on submission_time submission_date submit_time "
        "timestamp date_submitted completed completed_at abgegeben_am fecha",
        "human_score": "score score1 score_1 rater1 rater_1 rater1_score rating rating1 "
        "rating_1 human_score_1 human_score1 h1 punkte puntos",
        "human_score_2": "score2 score_2 rater2 rater_2 rater2_score rating2 rating_2 "
        "human_score2 h2",
        "trait": "trait_id trait_name domain dimension criterion",
        "season": "administration test_window window",
    }.items()
}
SUBGROUP = "subgroup "  # before an attribute, where it stands beside canonical names
# Of these every student has one of their own; as a subgroup's levels they would be shown.
PRIVATE = ("response_id", "student_id", "text")
HOW_TO_MAP = (
    "Say which column is which in a mapping file and give it with --mapping: "
    "`columns: {response_id: <header>, item_id: <header>, text: <header>}`"
)


@dataclass(frozen=True)
class Rating:
    """Positions of the two raters' scores; no trait means that of the row."""

    trait: str | None
    human_score: int | None
    human_score_2: int | None


@dataclass(frozen=True)
class ColumnMap:
    """Where in a row each value stands.

    Attributes:
        positions: canonical name to position, without the columns of scores and subgroups.
        ratings: the score columns.
        subgroups: attribute to position, of each subgroup column.
        constants: values for all rows; a column of the same name comes first where it is filled.
        names: canonical name to header, as it is shown and recorded.
        found_by: canonical name to how its column was found.
        ignored: headers that nothing is read from.
        problems: why the export cannot be used, a sentence each that quotes no header. Without a
            header row the first row is a student's, and these sentences go to logs and reports.
        shown_problems: the same with the headers, for the terminal of who asked about the file.
        submitted_at_format: strptime's, or None for the forms that are known.
    """

    positions: dict[str, int]
    ratings: tuple[Rating, ...]
    subgroups: dict[str, int]
    constants: dict[str, str]
    names: dict[str, str]
    found_by: dict[str, str]
    ignored: tuple[str, ...]
    problems: tuple[str, ...]
    shown_problems: tuple[str, ...] = ()
    submitted_at_format: str | None = None

    @property
    def places(self) -> frozenset[int]:
        """Positions of all columns that are read."""
        rated = (place for one in self.ratings for place in (one.human_score, one.human_score_2))
        found = {*self.positions.values(), *self.subgroups.values(), *rated}
        return frozenset(place for place in found if place is not None)


@dataclass
class _Found:
    """A column map in the making."""

    positions: dict[str, int] = field(default_factory=dict)
    found_by: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    shown_problems: list[str] = field(default_factory=list)

    def add_problem(self, problem: str, shown: str | None = None) -> None:
        """Note a problem: without header cells, and with them where that says more."""
        self.problems.append(problem)
        self.shown_problems.append(shown or problem)


def map_columns(header: Sequence[str], mapping: MappingFile | None) -> ColumnMap:
    """Find every canonical column in a header; what stands in the way is in ``problems``."""
    names = [name.strip("\ufeff").strip() for name in header]
    found = _Found()
    layout = None if mapping else known_layout(names)
    given = mapping or (layout[1] if layout else MappingFile())
    source = f"the {layout[0]} layout" if layout else "the mapping file"
    wanted = dict(given.columns)
    for trait, columns in given.traits.items():
        wanted[f"human_score of {trait}"] = columns.human_score
        if columns.human_score_2:
            wanted[f"human_score_2 of {trait}"] = columns.human_score_2
    for attribute, column in given.subgroups.items():
        wanted[f"{SUBGROUP}{attribute}"] = column
    for canonical, column in wanted.items():
        _find_named(found, names, canonical, column, source, needed=layout is None)
    if layout is None:
        _find_synonyms(found, names, skip=given)
    _check_subgroups(found, names)
    _check_required(found, names, given)
    return _column_map(found, names, given)


def normalise(header: str) -> str:
    """``Question ID`` as ``question_id``."""
    return re.sub(r"[\W_]+", "_", header.casefold()).strip("_")


def _find_named(
    found: _Found, names: list[str], canonical: str, column: str, source: str, *, needed: bool
) -> None:
    places = [at for at, name in enumerate(names) if name == column.strip()]
    if len(places) == 1:
        found.positions[canonical] = places[0]
        found.found_by[canonical] = source
    elif len(places) > 1:
        found.add_problem(f"the header has {column!r} {len(places)} times")
    elif needed or canonical in REQUIRED:
        near = difflib.get_close_matches(column, [name for name in names if name], n=1, cutoff=0.6)
        hint = f"; the nearest header is {near[0]!r}" if near else ""
        absent = f"{source} names a column {column!r} that is not there"
        found.add_problem(absent, absent + hint)


def _find_synonyms(found: _Found, names: list[str], skip: MappingFile) -> None:
    taken = set(found.positions.values())
    for canonical, synonyms in SYNONYMS.items():
        if canonical in skip.columns or canonical in skip.constants:
            continue
        if skip.traits and canonical in ("human_score", "human_score_2", "trait"):
            continue  # with a score column per trait, a lone `score` is not one of them
        places = [
            at for at, name in enumerate(names) if at not in taken and normalise(name) in synonyms
        ]
        if len(places) > 1:
            headers = " and ".join(repr(names[at]) for at in places)
            could = f"could each be {canonical}. {HOW_TO_MAP}"
            found.add_problem(f"{len(places)} columns {could}", f"{headers} {could}")
        elif places:
            found.positions[canonical] = places[0]
            exact = normalise(names[places[0]]) == canonical
            found.found_by[canonical] = "its name" if exact else "a synonym"


def _check_subgroups(found: _Found, names: list[str]) -> None:
    """A subgroup is no column that tells one student from another."""
    for subgroup, at in found.positions.items():
        if not subgroup.startswith(SUBGROUP):
            continue
        for private in PRIVATE:
            if at == found.positions.get(private) or normalise(names[at]) in SYNONYMS[private]:
                found.add_problem(
                    f"the mapping file's {subgroup} is the column {names[at]!r}, which is read as "
                    f"{private}: name one that puts students into groups"
                )


def _check_required(found: _Found, names: list[str], given: MappingFile) -> None:
    missing = [
        name
        for name in REQUIRED
        if name not in found.positions and name not in given.constants and name not in given.columns
    ]
    if not missing or any("could each be" in problem for problem in found.problems):
        return
    if not found.positions:  # perhaps no header at all: its cells would be students' words
        found.add_problem(
            "no column name of the first row is known: a header row is needed. " + HOW_TO_MAP
        )
        return
    headers = ", ".join(repr(name[:60]) for name in names if name)
    none = f"no column for {', '.join(missing)}"
    found.add_problem(f"{none}. {HOW_TO_MAP}", f"{none} among the headers {headers}. {HOW_TO_MAP}")


def _column_map(found: _Found, names: list[str], given: MappingFile) -> ColumnMap:
    places = found.positions
    first = Rating(None, places.get("human_score"), places.get("human_score_2"))
    ratings = [first, *(
        Rating(
            trait,
            places.get(f"human_score of {trait}"),
            places.get(f"human_score_2 of {trait}"),
        )
        for trait in given.traits
    )]  # fmt: skip
    used = set(places.values())
    return ColumnMap(
        positions={
            name: at
            for name, at in places.items()
            if not name.startswith(("human_score", SUBGROUP))
        },
        ratings=tuple(r for r in ratings if (r.human_score, r.human_score_2) != (None, None)),
        subgroups={
            name.removeprefix(SUBGROUP): at
            for name, at in places.items()
            if name.startswith(SUBGROUP)
        },
        constants=dict(given.constants),
        names={canonical: names[at] for canonical, at in places.items()},
        found_by=found.found_by,
        # Without one known name the first row may be no header but somebody's answer.
        ignored=tuple(name for at, name in enumerate(names) if used and name and at not in used),
        problems=tuple(found.problems),
        shown_problems=tuple(found.shown_problems),
        submitted_at_format=given.submitted_at_format,
    )
