"""What to know of an adapter before its scores are trusted: its model card, in Markdown.

Made from what its training recorded: hashes, counts and figures. No response, no probe text and no
student is in it, so it may travel with the adapter.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING

from tasks.evaluation import ENOUGH_RATED, SMALL_CELL, Figure
from tasks.markdown import escaped, table
from tasks.promotion import Comparison
from tasks.report_text import NOT_DEFINED, counted, figure, interval, share

if TYPE_CHECKING:  # torch is not needed to write a page
    from models.calibration import Calibration
    from models.scoring_record import CascadeRecord, Record

FIGURES = {
    "qwk": "quadratic weighted kappa (QWK)",
    "exact": "exact agreement",
    "adjacent": "agreement within one point",
    "kappa": "kappa",
    "pearson_r": "Pearson r, raw score",
    "rmse": "root mean squared error, raw score",
    "smd": "standardized mean difference (SMD)",
}


@dataclass(frozen=True)
class Training:
    """What is known of how an adapter came about.

    Attributes:
        item_id: the item it scores.
        made_on: the administration date of its training.
        adapter_sha256: hash of its files.
        recipe_sha256: hash of its recipe; empty where it was imported.
        n_training: responses it was fitted to; None where nobody here knows.
        n_validation: responses held out, for stopping, calibration and the figures below.
        figures: on the validation responses, first rater and machine, by name; see FIGURES.
        seasons: where the responses came from; empty is all seasons there were.
        reported: ``rounded`` or ``scaled``.
        cut_scores: score points that decide something.
        comparison: with the champion of that day; None where there was none.
    """

    item_id: str
    made_on: date
    adapter_sha256: str
    recipe_sha256: str
    n_training: int | None
    n_validation: int
    figures: Mapping[str, Figure] = field(default_factory=dict)
    seasons: tuple[str, ...] = ()
    reported: str = "rounded"
    cut_scores: tuple[int, ...] = ()
    comparison: Comparison | None = None


def model_card(training: Training, scoring: "Record") -> str:
    """The card of one adapter.

    Args:
        training: how it came about.
        scoring: its own record, ``scoring.json``.
    """
    sections = {
        "What it scores": _scores(training, scoring),
        "What it was made from": _made(training, scoring),
        "Student and teacher": _taught(scoring),
        "Agreement with people": _agreement(training),
        "Confidence": _confidence(scoring.calibration),
        "Against the champion of that day": _promotion(training),
        "Limits": _limits(training, scoring),
        "Recipe and versions": _recipe(scoring),
    }
    trait = "" if scoring.trait == "overall" else f" ({escaped(scoring.trait)})"
    parts = [f"# Model card: item {escaped(training.item_id)}{trait}"]
    for title, paragraphs in sections.items():
        if told := list(paragraphs):
            parts += [f"## {title}", *told]
    return "\n\n".join(parts) + "\n"


def _scores(training: Training, scoring: "Record") -> Iterator[str]:
    yield (
        f"Written responses to item {escaped(training.item_id)}, trait "
        f"{escaped(scoring.trait)}, on the scale {scoring.score_min} to {scoring.score_max}, and "
        "to no other item. It gives each response a raw score, an integer score and the "
        "probability that a person would give that score."
    )
    how = (
        "the raw score, brought to the mean and spread of the human scores of its training "
        "responses, trimmed to the scale and rounded"
        if training.reported == "scaled"
        else "the raw score, trimmed to the scale and rounded"
    )
    cuts = ", ".join(map(str, training.cut_scores))
    yield f"Reported: {how}." + (f" Cut scores: {cuts}." if cuts else "")


def _made(training: Training, scoring: "Record") -> Iterator[str]:
    n_training = "not known" if training.n_training is None else f"{training.n_training:,}"
    yield table(
        ["", ""],
        [
            ("made on", training.made_on),
            ("method", _method(scoring)),
            ("backbone", scoring.backbone),
            ("backbone sha256", scoring.backbone_sha256),
            ("adapter sha256", training.adapter_sha256),
            ("training data sha256", scoring.training_data_sha256 or "not known"),
            ("training responses", n_training),
            ("validation responses", f"{training.n_validation:,}"),
            ("seasons", ", ".join(training.seasons) or "all there were on that day"),
            ("recipe sha256", training.recipe_sha256 or "none: it was imported"),
        ],
    )


def _method(scoring: "Record") -> str:
    if scoring.method == "student" or scoring.cascade is None:
        return scoring.method
    return f"cascade: a student before {scoring.method}"


def _taught(scoring: "Record") -> Iterator[str]:
    """What is to be known of a student; nothing of an adapter that is none and has none."""
    if scoring.method == "student":
        yield (
            f"A network of {scoring.trained_parameters:,} trained numbers, distilled from the "
            f"adapter {scoring.teacher_sha256}. It reads words and their neighbours, no more: "
            "what hangs on the whole of a long answer it cannot see."
        )
    elif scoring.cascade is not None:
        yield from _cascade(scoring.cascade)


def _cascade(found: "CascadeRecord") -> Iterator[str]:
    limit = found.limit
    yield (
        f"A distilled student of {found.student.trained_parameters:,} trained numbers scores every "
        f"response first. Where it is at least {share(limit.limit)} sure its score stands; its "
        "teacher, the rest of this adapter, scores the others."
    )
    yield table(
        ["", ""],
        [
            ("loss of QWK that was allowed", f"{found.most_loss:g}"),
            ("responses that the limit was chosen on", f"{limit.n:,}"),
            ("of them scored by people", f"{limit.n_human:,}"),
            ("share that the student keeps", share(limit.kept_share)),
            ("expected loss of QWK", f"{limit.expected_loss:.4f}"),
            ("QWK of the student with people", _or_dash(limit.qwk_student, 3)),
            ("QWK of the teacher with people", _or_dash(limit.qwk_teacher, 3)),
            ("QWK of the cascade with people", _or_dash(limit.qwk_cascade, 3)),
        ],
    )


def _agreement(training: Training) -> Iterator[str]:
    shown = {name: found for name, found in training.figures.items() if found.n >= SMALL_CELL}
    if not shown:
        yield "Not known: too few validation responses with a human score."
        return
    yield (
        "With the first rater, on the validation responses; intervals are 95% bootstrap intervals "
        "over responses."
    )
    yield table(
        ["figure", "value", "95% interval", "responses"],
        [
            (FIGURES.get(name, name), figure(found.value), interval(found), f"{found.n:,}")
            for name, found in shown.items()
        ],
    )
    yield (
        "The validation responses also decided when training stopped, so these figures are "
        "somewhat too good. What counts is the agreement in each night's report."
    )


def _confidence(found: "Calibration | None") -> Iterator[str]:
    if found is None:
        yield "Not calibrated: it was imported, or made before adapters were."
        return
    if found.ece_before is None:
        yield (
            f"Not calibrated: {counted(found.n, 'validation response')} are too few for it. Its "
            "confidence is the head's own probability."
        )
        return
    yield (
        f"Temperature {figure(found.temperature)}, fitted to {found.n:,} validation responses. "
        f"Expected calibration error {_or_dash(found.ece_before, 3)} without it, "
        f"{_or_dash(found.ece_after, 3)} with it."
    )
    rows = [row for row in found.coverage if row.n >= SMALL_CELL]
    if rows:
        yield "Where only the most confident are kept, and the others go to people:"
        yield table(
            ["kept", "responses", "least confidence", "exact agreement", "QWK"],
            [
                (
                    share(row.kept),
                    f"{row.n:,}",
                    figure(row.least_confidence),
                    share(row.exact),
                    _or_dash(row.qwk, 2),
                )
                for row in rows
            ],
        )


def _promotion(training: Training) -> Iterator[str]:
    found = training.comparison
    if found is None:
        yield "There was none: it is the item's first adapter, or was imported."
        return
    yield f"Verdict: **{found.verdict}**. {escaped(found.reason)}"
    if found.n < SMALL_CELL or math.isnan(found.difference):
        return
    gap = Figure(found.difference, found.low, found.high, found.n)
    rows = [
        ("responses that neither was fitted to", f"{found.n:,}"),
        ("QWK of the champion", figure(found.champion_qwk)),
        ("QWK of this adapter", figure(found.challenger_qwk)),
        ("difference, 95% interval", f"{figure(gap.value)}, {interval(gap)}"),
        ("scores that change", share(found.changed, 1)),
    ]
    rows += [
        (f"across cut score {one.cut_score}", f"{one.upwards:,} up, {one.downwards:,} down")
        for one in found.crossings
    ]
    yield table(["", ""], rows)


def _limits(training: Training, scoring: "Record") -> Iterator[str]:
    limits = [
        "It has learned what its raters did, with their habits; it does not know whether an "
        "answer is true.",
        "It says nothing of responses to other items, in other languages, or of a kind that was "
        "not among those it learned from.",
        _reads(scoring),
        "How it treats subgroups is not in this card: every run's report says it, where subgroups "
        "are known and large enough.",
    ]
    if training.n_validation < ENOUGH_RATED:
        limits.append(
            f"Fewer than {ENOUGH_RATED} validation responses: its figures are too uncertain to "
            "judge it by."
        )
    if training.n_training is None:
        limits.append(
            "Nobody here knows what it was trained on: it may have seen the responses that its "
            "agreement is measured with."
        )
    yield "\n".join(f"- {limit}" for limit in limits)


def _reads(scoring: "Record") -> str:
    if scoring.method == "student":
        return "It was taught by another adapter, and has learned its mistakes too."
    return (
        f"It reads the first {scoring.max_tokens:,} tokens of a response; longer ones are cut, and "
        "counted as cut in every report."
    )


def _recipe(scoring: "Record") -> Iterator[str]:
    if scoring.recipe:
        yield table(["recipe", ""], sorted(scoring.recipe.items()))
    yield table(["library", "version"], sorted(scoring.versions.items()))


def _or_dash(value: float | None, digits: int) -> str:
    return NOT_DEFINED if value is None else figure(value, digits)
