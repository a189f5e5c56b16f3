"""Thresholds: what a file may say, what is refused and in which words, and what a diff tells."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.rules import RULES
from tasks.thresholds import (
    ThresholdChange,
    Thresholds,
    ThresholdsError,
    changes,
    read_thresholds,
    thresholds_from_json,
)

DEFAULTS = read_thresholds(None)


def written(folder: Path, text: str, name: str = "thresholds.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read(folder: Path, text: str, name: str = "thresholds.yaml") -> Thresholds:
    return read_thresholds(written(folder, text, name))


def only(found: tuple[ThresholdChange, ...]) -> ThresholdChange:
    (change,) = found
    return change


def test_defaults_have_a_limit_for_every_rule_and_no_other() -> None:
    assert set(DEFAULTS.rules) == set(RULES)
    assert DEFAULTS.items == {}
    assert (DEFAULTS.small_cell, DEFAULTS.enough_rated) == (10, 100)


@pytest.mark.parametrize(
    ("rule", "hard", "soft"),
    [
        ("qwk", 0.70, 0.70),
        ("pearson_r", 0.70, 0.70),
        ("degradation_qwk", 0.10, 0.10),
        ("degradation_r", 0.10, 0.10),
        ("smd", 0.15, 0.15),
        ("dsm", 0.10, 0.10),
        ("disattenuated_r", None, 0.90),
        ("psi", 0.25, 0.10),
        ("score_point_shift", 0.05, 0.05),
        ("scored_share", 0.995, 0.995),
    ],
)
def test_published_limits_are_the_defaults(rule: str, hard: float | None, soft: float) -> None:
    limit = DEFAULTS.limit_of(rule, "any item", "any trait")
    assert (limit.hard, limit.soft) == (hard, soft)


def test_every_rule_says_what_it_means_in_a_sentence() -> None:
    assert all(rule.meaning[0].isupper() and rule.meaning[-1] == "." for rule in RULES.values())


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "{}", "rules:\nitems:\n", "rules: ~\n"])
def test_a_file_that_says_nothing_changes_nothing(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, text) == DEFAULTS


def test_an_absent_file_leaves_the_defaults(tmp_path: Path) -> None:
    assert read_thresholds(tmp_path / "thresholds.yaml") == DEFAULTS


def test_a_file_changes_the_settings_that_it_names(tmp_path: Path) -> None:
    limits = read(
        tmp_path,
        "enough_rated: 200\ndrift: {recent: 7}\n"
        "rules: {qwk: {at_least: 0.75}, psi: {at_most: 0.3}, smd: {fewest: 50, flag: 0.1}}",
    )
    qwk, psi, smd = (limits.limit_of(rule, "A", "overall") for rule in ("qwk", "psi", "smd"))
    assert (qwk.at_least, qwk.fewest) == (0.75, 200)
    assert (psi.at_most, psi.flag, psi.fewest) == (0.3, 0.1, 30)
    assert (smd.at_most, smd.flag, smd.fewest) == (0.15, 0.1, 50)
    assert (limits.drift.recent, limits.drift.alpha) == (7, DEFAULTS.drift.alpha)
    assert limits.limit_of("pearson_r", "A", "overall").fewest == 200


def test_an_item_may_have_limits_of_its_own_and_a_trait_within_it(tmp_path: Path) -> None:
    limits = read(
        tmp_path,
        "rules: {qwk: {flag: 0.8}}\n"
        "items:\n  essay: {qwk: {at_least: 0.6}}\n  essay/style: {qwk: {fewest: 300}}\n"
        '  "0417": {smd: {at_most: 0.2}}\n  a/b: {smd: {at_most: 0.3}}\n',
    )

    def qwk(item_id: str, trait: str) -> tuple[float | None, float | None, int]:
        limit = limits.limit_of("qwk", item_id, trait)
        return limit.at_least, limit.flag, limit.fewest

    assert qwk("other", "overall") == (0.70, 0.8, 100)
    assert qwk("essay", "ideas") == (0.6, 0.8, 100)
    assert qwk("essay", "style") == (0.6, 0.8, 300)
    assert limits.limit_of("smd", "0417", "overall").at_most == 0.2
    assert limits.limit_of("smd", "417", "overall").at_most == 0.15
    assert limits.limit_of("smd", "a/b", "overall").at_most == 0.3  # an id with a slash in it


def test_a_limit_can_be_softened_to_a_flag(tmp_path: Path) -> None:
    limit = read(tmp_path, "rules: {qwk: {at_least: ~, flag: 0.7}}").limit_of("qwk", "A", "t")
    assert (limit.hard, limit.soft) == (None, 0.7)


def test_nothing_is_judged_on_a_small_cell(tmp_path: Path) -> None:
    limits = read(tmp_path, "small_cell: 40\nrules: {smd: {fewest: 5}}")
    assert limits.limit_of("smd", "A", "overall").fewest == 40
    assert limits.limit_of("psi", "A", "overall").fewest == 40
    assert limits.limit_of("scored_share", "", "").fewest == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: {qwkk: {at_least: 0.7}}", "rules: unknown rule 'qwkk'; the nearest known one is"),
        ("rules: {pearson: {at_least: 0.7}}", "'pearson_r'"),
        ("rules: {smd: {atmost: 0.7}}", "unknown key 'atmost'; the nearest known one is 'at_most'"),
        ("rule: {}", "unknown key 'rule'; the nearest known one is 'rules'"),
        ("drift: {alfa: 0.01}", "drift: unknown key 'alfa'; the nearest known one is 'alpha'"),
        ("items: {A: {qwl: {flag: 0.7}}}", "A: unknown rule 'qwl'; the nearest known one is 'qwk'"),
        ("items: {A: {qwk: {flg: 0.7}}}", "unknown key 'flg'; the nearest known one is 'flag'"),
        ("rules: {qwk: {at_least: 7.0}}", "rules.qwk.at_least: 7 is no possible limit"),
        ("rules: {qwk: {at_least: 70}}", "lies between -1 and 1"),
        ("rules: {smd: {at_most: -0.15}}", "rules.smd.at_most: -0.15 is no possible limit"),
        ("rules: {score_point_shift: {at_most: 5}}", "lies between 0 and 1"),
        ("rules: {psi: {flag: 25, at_most: ~}}", "rules.psi.flag: 25"),
        ("items: {A: {qwk: {at_least: 7}}}", "items.A.qwk.at_least: 7 is no possible limit"),
        ("rules: {qwk: {at_least: nan}}", "rules.qwk.at_least"),
        ("rules: {qwk: {at_least: high}}", "rules.qwk.at_least"),
        ("rules: {qwk: {at_least: '0,7'}}", "rules.qwk.at_least"),
        ("rules: {qwk: {at_most: 0.7}}", "rules.qwk: this rule has at_least, not at_most"),
        ("rules: {qwk: {at_least: ~}}", "rules.qwk: neither at_least nor flag is left"),
        ("rules: {qwk: {flag: 0.6}}", "rules.qwk.flag: 0.6 is beyond at_least 0.7"),
        ("rules: {psi: {at_most: 0.05}}", "rules.psi.flag: 0.1 is beyond at_most 0.05"),
        ("rules: {qwk: {fewest: 0}}", "rules.qwk.fewest"),
        ("rules: {qwk: 0.7}", "rules.qwk"),
        ("drift: {alpha: 0}", "drift.alpha"),
        ("drift: {alpha: 0.5}", "drift.alpha"),
        ("drift: {fewest: 400}", "drift.fewest: no baseline of 300 responses"),
        ("small_cell: many", "small_cell"),
        ("rules: {qwk: {flag: 0.8}, qwk: {flag: 0.9}}", "'qwk' is given twice"),
        ("- rules", "thresholds.yaml"),
        ("rules: [", "thresholds.yaml"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ThresholdsError, match=r"thresholds\.yaml") as error:
        read(tmp_path, text)
    assert said in str(error.value)


def test_the_hash_is_of_the_limits_and_of_nothing_else(tmp_path: Path) -> None:
    plain = read(tmp_path, "rules: {smd: {at_most: 0.2}, qwk: {at_least: 0.8}}")
    same = read(tmp_path, "# a note\nrules:\n  qwk: {at_least: 0.80}\n  smd:\n    at_most: '0.2'\n")
    assert plain.as_json() == same.as_json()
    assert plain.sha256 == same.sha256 != DEFAULTS.sha256


@given(
    at_least=st.floats(-1, 1), at_most=st.floats(0, 3), fewest=st.integers(10, 10**6),
    item=st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=20),
)  # fmt: skip
def test_limits_survive_being_stored(
    at_least: float, at_most: float, fewest: int, item: str
) -> None:
    qwk = DEFAULTS.rules["qwk"].model_copy(update={"at_least": at_least, "fewest": fewest})
    smd = DEFAULTS.rules["smd"].model_copy(update={"at_most": at_most})
    limits = DEFAULTS.model_copy(
        update={"rules": {**DEFAULTS.rules, "qwk": qwk}, "items": {item: {"smd": smd}}}
    )
    stored = thresholds_from_json(limits.as_json())
    assert stored == limits
    assert stored.sha256 == limits.sha256
    assert changes(stored, limits) == ()


def test_limits_stored_by_another_version_are_read_as_they_were() -> None:
    rules = {name: limit for name, limit in DEFAULTS.rules.items() if name != "far_apart"}
    old = DEFAULTS.model_copy(update={"rules": {**rules, "kurtosis": DEFAULTS.rules["psi"]}})
    before = thresholds_from_json(old.as_json())
    assert set(before.rules) == set(old.rules)
    told = {(c.rule, c.setting, c.before, c.after, c.suspicious) for c in changes(before, DEFAULTS)}
    assert ("far_apart", "flag", None, 0.02, False) in told
    assert ("kurtosis", "at_most", 0.25, None, True) in told


def test_no_change_is_no_diff() -> None:
    assert changes(DEFAULTS, read_thresholds(None)) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rules: {qwk: {at_least: 0.07}}", ("qwk", "at_least", 0.70, 0.07)),
        ("rules: {smd: {at_most: 1.5}}", ("smd", "at_most", 0.15, 1.5)),
        ("rules: {smd: {at_most: 0.015}}", ("smd", "at_most", 0.15, 0.015)),
        ("rules: {score_point_shift: {at_most: 0.5}}", ("score_point_shift", "at_most", 0.05, 0.5)),
        ("rules: {qwk: {at_least: -0.70}}", ("qwk", "at_least", 0.70, -0.70)),
        ("rules: {smd: {at_most: 0}}", ("smd", "at_most", 0.15, 0)),
        ("rules: {psi: {flag: ~}}", ("psi", "flag", 0.10, None)),
        ("rules: {psi: {fewest: 300}}", ("psi", "fewest", 30, 300)),
        ("rules: {scored_share: {at_least: 0.95}}", ("scored_share", "at_least", 0.995, 0.95)),
        ("rules: {disattenuated_r: {flag: 0.99}}", ("disattenuated_r", "flag", 0.90, 0.99)),
        ("drift: {alpha: 0.05}", ("drift", "alpha", 0.005, 0.05)),
        ("drift: {recent: 50}", ("drift", "recent", 5, 50)),
        ("small_cell: 1\nrules: {}", ("thresholds", "small_cell", 10, 1)),
    ],
)
def test_slips_are_told_from_decisions(
    tmp_path: Path, text: str, expected: tuple[str, str, float, float | None]
) -> None:
    change = only(changes(DEFAULTS, read(tmp_path, text)))
    assert (change.rule, change.setting, change.before, change.after) == expected
    assert change.scope == "all items"
    assert change.suspicious


@pytest.mark.parametrize(
    "text",
    [
        "rules: {qwk: {at_least: 0.75}}",
        "rules: {smd: {at_most: 0.20}}",
        "rules: {smd: {flag: 0.10}}",
        "rules: {psi: {fewest: 100}}",
        "rules: {scored_share: {at_least: 0.99}}",
        "drift: {alpha: 0.01}",
    ],
)
def test_decisions_are_shown_without_an_alarm(tmp_path: Path, text: str) -> None:
    assert not only(changes(DEFAULTS, read(tmp_path, text))).suspicious


@given(before=st.floats(0.001, 3), factor=st.floats(0.01, 100))
def test_a_factor_of_five_is_suspicious_both_ways(before: float, factor: float) -> None:
    def limits(at_most: float) -> Thresholds:
        smd = DEFAULTS.rules["smd"].model_copy(update={"at_most": at_most})
        return DEFAULTS.model_copy(update={"rules": {**DEFAULTS.rules, "smd": smd}})

    for change in changes(limits(before), limits(before * factor)):
        assert change.factor == pytest.approx(factor)
        if not 0.199 < factor < 0.201 and not 4.99 < factor < 5.01:
            assert change.suspicious == (not 0.2 < factor < 5)


def test_an_items_limit_is_compared_with_what_held_for_it(tmp_path: Path) -> None:
    item = read(tmp_path, "items: {essay: {qwk: {at_least: 0.07}}}")
    change = only(changes(DEFAULTS, item))
    assert (change.scope, change.rule, change.before, change.after) == ("essay", "qwk", 0.70, 0.07)
    assert change.suspicious
    back = only(changes(item, DEFAULTS))
    assert (back.scope, back.before, back.after, back.suspicious) == ("essay", 0.07, 0.70, True)
    trait = read(tmp_path, "items: {essay: {qwk: {at_least: 0.07}}, essay/x: {qwk: {flag: 0.1}}}")
    change = only(changes(item, trait))
    assert (change.scope, change.setting, change.after) == ("essay/x", "flag", 0.1)


def test_items_that_follow_a_common_change_are_not_told_again(tmp_path: Path) -> None:
    before = read(tmp_path, "items: {A: {qwk: {at_least: 0.6}}, B: {smd: {flag: 0.1}}}")
    after = read(
        tmp_path, "enough_rated: 120\nitems: {A: {qwk: {at_least: 0.6}}, B: {smd: {flag: 0.1}}}"
    )
    assert {change.scope for change in changes(before, after)} == {"all items"}


def test_a_slip_as_in_ohio_shows_in_the_diff_of_two_files(tmp_path: Path) -> None:
    """Ohio 2018: a limit typed wrong gave 5,300 tests zeros, and nobody saw the number.

    There it was 50% for 30%; here the decimal point slips, which disables the rule that would see
    the zeros. Both must be in the diff, and the slip must stand out.
    """
    agreed = "rules:\n  score_point_shift: {at_most: 0.03}\n  condition_shift: {at_most: 0.3}\n"
    typed = "rules:\n  score_point_shift: {at_most: 0.30}\n  condition_shift: {at_most: 0.5}\n"
    last_night = read(tmp_path, agreed, "agreed.yaml")
    # The run of last night stored its limits; tonight's run compares with what was stored.
    stored = thresholds_from_json(last_night.as_json())
    tonight = read(tmp_path, typed, "typed.yaml")
    assert tonight.sha256 != last_night.sha256
    found = {change.rule: change for change in changes(stored, tonight)}
    assert set(found) == {"score_point_shift", "condition_shift"}
    slip = found["score_point_shift"]
    assert (slip.scope, slip.setting, slip.before, slip.after) == (
        "all items", "at_most", 0.03, 0.30,
    )  # fmt: skip
    assert slip.factor == pytest.approx(10)
    assert slip.suspicious
    assert found["condition_shift"].factor == pytest.approx(5 / 3)
