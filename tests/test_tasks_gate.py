"""The release gate: what is held, and in which words."""

from dataclasses import replace

import made_evaluations as made

from tasks.gate import decide, judge_run
from tasks.rules import RuleResult
from tasks.thresholds import read_thresholds
from warehouse.reports import Run

LIMITS = read_thresholds(None)
# 1,213 received = 1,200 + 8 + 4 + 1; 1,200 + 50 waiting = 1,240 + 6 + 3 + 1.
RUN: Run = made.RUN


def failed(item_id: str, rule: str = "qwk", **more: object) -> RuleResult:
    return made.rule(item_id, rule, "FAIL", 0.52, 0.70, low=0.41, high=0.61, n=312, **more)


def reasons(run: Run = RUN, results: tuple[RuleResult, ...] = ()) -> tuple[str, ...]:
    found = decide(run, results, (), LIMITS)
    assert found.decision == ("held" if found.reasons else "released")
    return found.reasons


def test_a_run_without_a_reason_to_hold_it_is_released() -> None:
    fine = [
        made.rule("plants", "qwk", "PASS", 0.8, 0.7),
        made.rule("maps", "qwk", "FLAG", 0.65, 0.7),
        made.rule("seeds", "qwk", "INSUFFICIENT_N", 0.1, 0.7, n=9),
    ]
    assert decide(RUN, fine, (), LIMITS).decision == "released"
    assert decide(RUN, fine, (), LIMITS).reasons == ()


def test_one_row_that_is_not_accounted_for_holds_the_run() -> None:
    (reason,) = reasons(replace(RUN, received=1214))
    assert "1,214 rows received, of which 1,213 were accepted" in reason
    (reason,) = reasons(replace(RUN, scored=1239))
    assert "1,250 responses accepted or waiting, of which 1,249 were scored" in reason


def test_what_was_found_before_judging_holds_the_run_and_is_said_once() -> None:
    earlier = ("the counts do not reconcile: rows were lost", "the adapter of item 3 is damaged")
    found = decide(replace(RUN, received=1214), [], earlier, LIMITS)
    assert (found.decision, found.reasons) == ("held", earlier)


def test_too_many_failed_responses_hold_the_run() -> None:
    assert reasons(replace(RUN, scored=1235, failed=6)) == ()  # 6 of 1,241 are below 0.5%
    (reason,) = reasons(replace(RUN, scored=1234, failed=7))
    assert reason.startswith("only 0.994 of the responses that could be scored were")
    assert reason.endswith("(1,234 of 1,241), below scored_share 0.995")


def test_codes_and_responses_without_an_adapter_are_not_scorable() -> None:
    nothing = replace(
        RUN, accepted=0, received=13, waiting=9, scored=0, coded=6, routed=3, failed=0
    )
    assert reasons(nothing) == ()
    (result,) = judge_run(nothing, LIMITS)
    assert (result.rule, result.status, result.n) == ("scored_share", "INSUFFICIENT_N", 0)


def test_even_a_small_run_is_held_by_its_failures() -> None:
    small = replace(RUN, accepted=4, received=17, waiting=0, scored=3, coded=0, routed=0, failed=1)
    assert "(3 of 4)" in reasons(small)[0]


def test_a_failed_rule_is_told_with_item_value_and_limit() -> None:
    (reason,) = reasons(results=(failed("plants"),))
    assert reason == "item plants: qwk 0.52 [0.41, 0.61] is below 0.70, n = 312"
    shift = made.rule("essay", "score_point_shift", "FAIL", 0.117, 0.05, low=0.073, high=0.161,
                      subject="baseline, point 0", trait="ideas", n=1000)  # fmt: skip
    (reason,) = reasons(results=(shift,))
    assert reason == (
        "item essay · ideas: score_point_shift (baseline, point 0) 0.12 [0.07, 0.16] is beyond "
        "±0.05, n = 1,000"
    )
    (reason,) = reasons(results=(made.rule("maps", "psi", "FAIL", 0.31, 0.25, n=400),))
    assert reason == "item maps: psi 0.31 is above 0.25, n = 400"


def test_a_value_that_rounds_to_its_limit_is_told_apart_from_it() -> None:
    (reason,) = reasons(results=(made.rule("maps", "qwk", "FAIL", 0.6996, 0.70, n=90000),))
    assert "qwk 0.6996 is below 0.70" in reason


def test_ten_failures_are_named_and_the_rest_counted() -> None:
    many = tuple(failed(f"item {n}") for n in range(10))
    assert len(reasons(results=many)) == 10
    more = (failed("last"), failed("last", "smd"), failed("other", "smd"))
    found = reasons(results=many + more)
    assert len(found) == 11
    assert found[-1] == "and 3 more failed rules on 2 items: smd 2, qwk 1"


def test_rules_of_the_run_among_the_results_are_not_told_twice() -> None:
    run = replace(RUN, scored=1234, failed=7)
    assert len(reasons(run, tuple(judge_run(run, LIMITS)))) == 1
