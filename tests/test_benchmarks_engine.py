import copy
import json

import numpy as np
import pytest
import torch

from benchmarks.engine import (
    adapters,
    backbones,
    batches,
    check,
    figures,
    memory,
    mixes,
    ours,
    plan,
    precision,
    rates,
    reference,
    report,
    rivals_peft,
    sections,
    targets,
    workers,
)
from benchmarks.engine.systems import Clock, Place, Setting


def a_round(tokens_per_s, load_s=0.0, tokens=1000, group_tokens=1000):
    return {
        "score_s": tokens / tokens_per_s,
        "load_s": load_s,
        "total_s": tokens / tokens_per_s + load_s,
        "score_cpu_s": 2 * tokens / tokens_per_s,
        "load_cpu_s": load_s,
        "tokens": tokens,
        "responses": 10,
        "items": 2,
        "group_tokens": group_tokens,
        "load_average": 1.0,
    }


RATES = {
    "ours": 1000.0,
    "ceiling": 1010.0,
    "matrix": 1400.0,
    "b2": 700.0,
    "b2-user": 50.0,
    "b0-user": 90.0,
    "b6-pipeline-32": 60.0,
    "b7": 900.0,
}


def rate_of(key, changed):
    longest_first = sorted({**RATES, **changed}, key=len, reverse=True)
    return {**RATES, **changed}[
        next((name for name in longest_first if key.startswith(name)), "b2")
    ]


def results(**changed):
    """Results that meet every target, but for rates changed by the start of a system's key."""
    changed = {name.replace("_", "-"): value for name, value in changed.items()}
    speed = {
        backbone: {
            mix: {
                spec.key: {
                    "baseline": spec.baseline,
                    "label": spec.label,
                    "precision": spec.precision,
                    "variant": spec.variant,
                    "share": spec.share,
                    "setting": {"layout": "threads", "token_budget": 4096, "round_to": 8},
                    "largest_difference": 1e-6,
                    "apart": {},
                    "rounds": [a_round(rate_of(spec.key, changed)) for _ in range(5)],
                }
                for spec in plan.systems_for(backbone, mix)
            }
            for mix in mixes.SHAPES
        }
        for backbone in backbones.TITLES
    }
    points = {
        "ours": [{"items": n, "steady_mb": 100 + 0.5 * n} for n in (1, 9, 27)],
        "b1": [{"items": n, "steady_mb": 40 + 100 * n} for n in (1, 9)],
    }
    for system in points.values():
        for point in system:
            point.update(peak_mb=1.0, private_mb=1.0, resident_mb=1.0)
    measured = {
        "adapter_file_mb": 0.6,
        "systems": {f"{key}-{p}": points[key] for key in points for p in ("bf16", "fp32")},
    }
    return {
        "scale": 1,
        "rounds": 5,
        "date": "2026-01-01",
        "machine": {"cores": 2, "processor": "x", "flags": ["avx2"], "memory_gb": 8},
        "versions": {"torch": "1"},
        "mixes": {},
        "speed": speed,
        "flops_per_token": {
            backbone: {mix: {"linear": 10.0, "attention": 1.0} for mix in mixes.SHAPES}
            for backbone in backbones.TITLES
        },
        "memory": {name: copy.deepcopy(measured) for name in backbones.TITLES},
        "training": {
            "cases": [
                {"answers": n, "times_faster": [2.5, 2.6], "qwk_ours": 0.7, "qwk_peft": 0.7}
                for n in targets.TRAINING_SIZES
            ]
        },
        "precision": {
            "mean_qwk_fp32": 0.7,
            "mean_qwk_bf16": 0.7001,
            "difference": 0.0001,
            "flips": 1,
            "flips_near_boundary": 1,
            "near_boundary": 2,
            "answers": 100,
            "items": [],
        },
    }


def short(found):
    return {figure.target for figure in figures.figures(found) if not figure.is_met}


def test_median_and_spread():
    assert rates.spread([3.0, 1.0, 10.0]) == rates.Spread(3.0, 1.0, 10.0)
    with pytest.raises(ValueError, match="no round"):
        rates.spread([])


def test_ratios_are_taken_round_by_round():
    """A neighbour that slows both systems in one round does not change how they compare."""
    mine = [a_round(speed) for speed in (100.0, 10.0, 100.0)]
    theirs = [a_round(speed) for speed in (50.0, 5.0, 50.0)]
    assert rates.ratios(mine, theirs) == rates.Spread(2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="paired"):
        rates.ratios(mine, theirs[:2])


def test_a_load_is_set_against_the_whole_group():
    part = a_round(100.0, load_s=10.0, tokens=100, group_tokens=1000)
    whole = a_round(100.0, load_s=10.0, tokens=1000, group_tokens=1000)
    assert rates.rate(part, loading=True) == rates.rate(whole, loading=True) == 50.0
    assert rates.rate(part) == 100.0


def test_good_results_meet_every_target():
    assert short(results()) == set()


@pytest.mark.parametrize(
    ("changed", "targets_missed"),
    [
        ({"b2_user": 120.0}, {"users-bf16"}),
        ({"b6_pipeline_32": 200.0}, {"users-bf16", "users-fp32"}),
        ({"b7": 1000.0}, {"compiled"}),
        ({"b2_bf16": 800.0}, {"b2-small"}),
        ({"b2_fp32": 1001.0}, {"b2-small", "b2-others"}),
        ({"ceiling": 1100.0}, {"ceiling-large"}),
        ({"ceiling": 1200.0}, {"ceiling-large", "ceiling-small"}),
        ({"matrix_bf16": 2000.0}, {"machine-bf16"}),
        ({"matrix_fp32": 2000.0}, {"machine-fp32"}),
        ({"b0_user": 300.0}, {"latency"}),
    ],
)
def test_a_rate_that_falls_short_is_named(changed, targets_missed):
    assert short(results(**changed)) == targets_missed


def test_other_figures_that_fall_short_are_named():
    found = results()
    for point in found["memory"]["minilm"]["systems"]["ours-bf16"]:
        point["steady_mb"] += 100
    assert short(found) == {"memory"}
    found = results()
    for point in found["memory"]["minilm"]["systems"]["ours-fp32"]:
        point["steady_mb"] = 100 + point["items"]
    assert short(found) == {"per-item"}
    found = results()
    found["training"]["cases"][1]["times_faster"] = [1.9, 1.8, 2.5]
    assert short(found) == {"training"}
    found = results()
    found["precision"]["difference"] = -0.003
    assert short(found) == {"qwk"}


def test_faster_training_at_lower_quality_is_not_a_figure():
    found = results()
    found["training"]["cases"][0]["qwk_ours"] = 0.6
    assert short(found) == {"training"}


def test_what_was_not_measured_falls_short():
    bare = {"scale": 1, "rounds": 5}
    assert short(bare) == set(targets.TARGETS)
    sentences = check.shortfalls(figures.figures(bare))
    assert all("not measured" in sentence for sentence in sentences)


def test_check_prints_the_table_and_names_what_falls_short(tmp_path, capsys):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(results()))
    assert check.main([str(path)]) == 0
    assert "SHORT" not in capsys.readouterr().out
    path.write_text(json.dumps(results(b0_user=300.0)))
    assert check.main([str(path)]) == 1
    printed = capsys.readouterr().out
    assert "SHORT: latency per response below B0" in printed
    assert "70.0%" in printed and "needed at least 80.0%" in printed


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"scale": 0.1}, "quick run, scale 0.1"), ({"rounds": 4}, "4 rounds, 5 are needed")],
)
def test_quick_runs_are_no_evidence(changed, said, tmp_path, capsys):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({**results(), **changed}))
    assert check.main([str(path)]) == 1
    assert said in capsys.readouterr().out


def test_check_without_a_file_says_what_to_run(tmp_path, capsys):
    assert check.main([str(tmp_path / "none.json")]) == 1
    assert "make bench" in capsys.readouterr().out


def test_the_page_says_where_a_rival_wins():
    text = report.page(results(b7_onnx=1250.0))
    assert "ONNX Runtime, fp32 (B7) is 1.25 times as fast as gradeline in fp32" in text
    assert "No rival was faster" in report.page(results())
    assert "No evidence" in report.page({**results(), "scale": 0.1})


@pytest.mark.parametrize(
    ("name", "items", "fewest", "most"),
    [("paper", 27, 150, 150), ("small", 200, 3, 50), ("large", 10, 600, 600)],
)
def test_mixes_have_the_shape_they_claim(name, items, fewest, most):
    mix = mixes.make_mix(name)
    sizes = [len(item.texts) for item in mix.items]
    assert len(sizes) == items
    assert fewest <= min(sizes) and max(sizes) <= most
    texts = [text for item in mix.items for text in item.texts]
    assert len(set(texts)) == len(texts)
    words = [len(text.split()) for text in texts]
    if name == "large":
        assert min(words) == 20 and max(words) == 200
    else:
        assert np.mean(words) == pytest.approx(20, abs=1.5)


def test_mixes_are_the_same_every_time():
    assert mixes.make_mix("small", 0.1) == mixes.make_mix("small", 0.1)
    assert mixes.make_mix("small", 0.1) != mixes.make_mix("paper", 0.1)
    assert len(mixes.make_mix("small", 0.1).items) == 20


def test_rounds_go_through_the_mix_in_turn():
    mix = mixes.make_mix("large", 0.01)
    mix = mixes.Mix(mix.name, mix.title, tuple(mixes.ItemWork(n, ("a", "b")) for n in range(5)))
    numbers = [[item.number for item in mix.turn(turn, 2)] for turn in range(3)]
    assert numbers == [[0, 1], [2, 3], [4, 0]]
    assert [item.texts for item in mix.turn(0, 1, 1)] == [("a",)]


def test_smaller_shares_are_parts_of_larger_ones():
    for backbone, name in plan.SHARES:
        mix = mixes.make_mix(name, 0.2)
        whole, some, few = (
            plan.work(mix, backbone, share, 1) for share in ("whole", "some", "few")
        )
        for smaller, larger in ((some, whole), (few, whole)):
            known = {item.number: item.texts for item in larger}
            assert all(item.texts == known[item.number][: len(item.texts)] for item in smaller)


def test_every_text_is_in_one_batch_and_budgets_hold():
    random = np.random.default_rng(3)
    token_ids = [np.arange(1, n + 1) for n in random.integers(1, 60, size=200)]
    for round_to in (1, 8):
        made = batches.by_length(token_ids, 256, round_to)
        assert sorted(np.concatenate([b.positions for b in made])) == list(range(200))
        for batch in made:
            assert batch.token_ids.size <= 256
            assert batch.token_ids.shape[1] % round_to == 0
            for row, position in enumerate(batch.positions):
                real = batch.token_ids[row][batch.mask[row] == 1]
                assert real.tolist() == token_ids[position].tolist()
    assert len(batches.by_length([np.arange(1, 400)], 256)) == 1


def test_items_are_shared_out_evenly_and_none_is_lost():
    items = [mixes.ItemWork(n, tuple("x" * 10 for _ in range(n + 1))) for n in range(9)]
    shares = workers.share_out(items, 2)
    assert sorted(item.number for share in shares for item in share) == list(range(9))
    sizes = [sum(len(item.texts) for item in share) for share in shares]
    assert abs(sizes[0] - sizes[1]) <= 2


def test_texts_of_one_item_are_dealt_out_and_put_together_again():
    item = mixes.ItemWork(4, tuple("abcde"))
    shares = workers.share_out([item], 2)
    assert [share[0].texts for share in shares] == [("a", "c", "e"), ("b", "d")]
    rows = [{4: np.array([[ord(text)] for text in share[0].texts])} for share in shares]
    assert workers.put_together(rows, True)[4].ravel().tolist() == [ord(c) for c in "abcde"]


def test_memory_is_read_off_the_line_where_it_was_not_measured():
    points = [{"items": n, "steady_mb": 10.0 + 2.0 * n} for n in (1, 9)]
    assert memory.per_item(points, "steady_mb") == pytest.approx(2.0)
    assert memory.at_items(points, 27, "steady_mb") == pytest.approx(64.0)
    assert memory.at_items(points, 9, "steady_mb") == 28.0


def test_memory_is_the_median_over_rounds():
    rounds = [{"items": 9, "steady_mb": mb} for mb in (31.0, 28.0, 95.0)]
    assert memory.medians(rounds) == {"items": 9.0, "steady_mb": 31.0}
    assert len(memory.jobs("minilm")) == memory.ROUNDS * len(set(memory.jobs("minilm")))


def test_flips_near_a_boundary_are_told_from_others():
    raw = np.array([0.51, 1.2, 2.0, 1.49])
    exact, quick = np.array([1, 1, 2, 1]), np.array([0, 2, 2, 1])
    assert precision.flips(raw, exact, quick) == {
        "flips": 2,
        "flips_near_boundary": 1,
        "near_boundary": 2,
    }


def test_other_work_is_not_measured():
    right = np.zeros((3, 2), dtype=np.float32)
    assert reference.check("x", "fp32", right + 5e-4, right) == pytest.approx(5e-4)
    for wrong in (right + 2e-3, right[:2], right * np.nan):
        with pytest.raises(reference.WrongLogitsError, match="same work"):
            reference.check("x", "fp32", wrong, right)
    assert reference.check("x", "int8", right + 1, right) == 1.0


def test_a_stopped_run_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(sections, "BUILD", tmp_path)
    made = []
    for _ in range(2):
        found = sections.Sections(5, 1).section("a", lambda: made.append(1) or {"x": 1}, list)
        assert found == {"x": 1}
    assert made == [1]
    sections.Sections(5, 1).clear()
    sections.Sections(5, 1).section("a", lambda: made.append(1) or {}, list)
    assert made == [1, 1]


@pytest.fixture
def tiny(tiny_backbone_folder, tmp_path, monkeypatch):
    """The tiny encoder stands for the embedded one."""
    monkeypatch.setattr(backbones, "source", lambda name: str(tiny_backbone_folder))
    monkeypatch.setattr(adapters, "BUILD", tmp_path)
    for cached in (backbones.backbone, adapters.adapter, batches._limited, reference._encoder):
        cached.cache_clear()
    return "tiny"


ITEMS = (
    mixes.ItemWork(0, ("the bulb is closed", "no", "water and air")),
    mixes.ItemWork(1, ("plant", "the wire stays cold because it is open")),
)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("factory", [ours.Engine, rivals_peft.SetAdapter, rivals_peft.MixedBatches])
def test_systems_give_the_reference_logits(factory, tiny):
    system, clock = factory(Place(tiny, "recipe", "fp32")), Clock()
    system.prepare([0, 1])
    found = system.run(ITEMS, Setting(token_budget=64), clock)
    for item, logits in zip(ITEMS, found, strict=True):
        wanted = reference.logits_of(
            tiny, adapters.adapter(tiny, "recipe", item.number), item.texts
        )
        reference.check("x", "fp32", logits, wanted)
    assert clock.wall_s["score"] > 0


def test_another_items_adapter_would_be_noticed(tiny):
    own, other = (adapters.adapter(tiny, "recipe", number) for number in (0, 3))
    texts = ITEMS[0].texts
    right = reference.logits_of(tiny, own, texts)
    wrong = reference.logits_of(tiny, other, texts)
    bare = reference.logits_of(tiny, adapters.base_adapter(backbones.backbone(tiny)), texts)
    for logits in (wrong, bare):
        assert np.abs(logits - right).max() > reference.TOLERANCE["bf16"]
    assert torch.isfinite(torch.from_numpy(right)).all()
