import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_models_adapters import make_adapter

from models.adapters import AdapterError, Probe
from models.backbone import BackboneError, load_backbone
from models.bert import BertForward
from models.calibration import Calibration, confidences
from models.encoder import Encoder
from models.postprocessing import Scaling, rounded, scaled, trimmed
from models.scheduling import Queue
from models.scorer import Group, Scorer, exact_scorer

TEXTS = [
    "the bulb is in a closed path with the battery",
    "",
    "i think it does not float because it is heavy",
    "no",
    "the wire is open " * 40,
    "warm air moves more than cold air does",
    "no",
]
# More than the tokens up to which groups share batches.
MANY = [f"{text} {number}" for number in range(30) for text in TEXTS]


@pytest.fixture(scope="module")
def adapter(tiny_backbone):
    return make_adapter(tiny_backbone)


@pytest.fixture(scope="module")
def scorer(tiny_backbone):
    return Scorer(tiny_backbone, precision="fp32", threads=2)


def sha256_of(model):
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def test_columns_agree_with_each_other(scorer, adapter):
    scored = scorer.score(adapter, TEXTS)
    points = np.arange(1, 4)
    assert scored.probabilities.shape == (len(TEXTS), 3)
    np.testing.assert_allclose(scored.probabilities.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(scored.probabilities @ points, scored.raw_score, atol=1e-5)
    assert scored.score.tolist() == np.floor(scored.raw_score + 0.5).tolist()
    reported = scored.probabilities[np.arange(len(TEXTS)), scored.score - 1]
    np.testing.assert_allclose(scored.confidence, reported, atol=1e-6)
    assert scored.truncated.tolist() == [False] * 4 + [True] + [False] * 2
    assert np.ptp(scored.raw_score) > 0.05
    assert scored.tokens[1] == 2  # an empty text is its special tokens
    assert scored.tokens[4] == 64  # cut at the backbone's limit


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(len(TEXTS))), budget=st.integers(1, 200))
def test_a_score_does_not_depend_on_its_batch(tiny_backbone, scorer, adapter, order, budget):
    expected = scorer.score(adapter, TEXTS).raw_score[list(order)]
    small = Scorer(tiny_backbone, precision="fp32", threads=1, token_budget=budget)
    found = small.score(adapter, [TEXTS[i] for i in order]).raw_score
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_groups_come_back_in_order_however_they_were_computed(tiny_backbone, scorer):
    adapters = [make_adapter(tiny_backbone, seed=seed, points=2 + seed % 4) for seed in range(9)]
    sizes = [3, len(MANY), 1, 5, 0, 40, 2, len(MANY), 4]
    groups = [
        Group(lambda adapter=adapter: adapter, MANY[:size])
        for adapter, size in zip(adapters, sizes, strict=True)
    ]
    found = list(scorer.score_groups(groups))
    for adapter, size, scored in zip(adapters, sizes, found, strict=True):
        alone = scorer.score(adapter, MANY[:size])
        np.testing.assert_allclose(scored.raw_score, alone.raw_score, atol=1e-5)
        assert scored.score.tolist() == alone.score.tolist()
        assert scored.probabilities.shape == (size, adapter.scale.n_points)


def test_merged_and_branched_adapters_score_alike(monkeypatch, tiny_backbone, adapter):
    monkeypatch.setattr("models.costs.MERGE_COST", 0)
    merged = Scorer(tiny_backbone, precision="fp32").score(adapter, MANY)
    monkeypatch.setattr("models.costs.MERGE_COST", 1_000_000)
    branched = Scorer(tiny_backbone, precision="fp32").score(adapter, MANY)
    assert not np.array_equal(merged.raw_score, branched.raw_score)  # they were two ways
    np.testing.assert_allclose(branched.raw_score, merged.raw_score, atol=1e-5)


def test_a_larger_rank_is_merged_for_fewer_texts(tiny_backbone):
    encoder = Encoder(tiny_backbone, "fp32")
    small, large = (encoder.break_even(make_adapter(tiny_backbone, rank=rank)) for rank in (2, 4))
    assert small == pytest.approx(2 * large)
    assert large > 0


def test_a_thousand_swaps_leave_no_trace(tiny_backbone):
    adapters = [make_adapter(tiny_backbone, seed=seed, rank=2) for seed in range(4)]
    adapters[3] = replace(adapters[3], edits=dict(sorted(adapters[3].edits.items())[:1]))
    groups = [
        Group(lambda adapter=adapter: adapter, MANY[:60], verify=False) for adapter in adapters
    ]
    before = sha256_of(tiny_backbone.model)
    scorer = Scorer(tiny_backbone, precision="fp32", threads=2)
    found = list(scorer.score_groups(groups * 250))
    for number, scored in enumerate(found):
        assert np.array_equal(scored.raw_score, found[number % 4].raw_score)
    assert not np.array_equal(found[0].raw_score, found[1].raw_score)
    assert sha256_of(tiny_backbone.model) == before


def test_a_broken_adapter_fails_its_own_group_only(scorer, adapter):
    def missing():
        raise AdapterError("gone")

    liar = adapter.scoring.model_copy(
        update={"probes": (adapter.scoring.probes[0].model_copy(update={"raw_score": 2.9}),)}
    )
    groups = [
        Group(lambda: adapter, TEXTS),
        Group(missing, TEXTS),
        Group(lambda: replace(adapter, scoring=liar), TEXTS),
        Group(lambda: adapter, MANY),
    ]
    first, second, third, fourth = scorer.score_groups(groups)
    assert len(first.score) == len(TEXTS)
    assert str(second) == "gone"
    assert "does not reproduce its probe predictions" in str(third)
    assert len(fourth.score) == len(MANY)


def recorded(adapter, **fields):
    """The adapter with something else in its record."""
    return replace(adapter, scoring=adapter.scoring.model_copy(update=fields))


def test_calibration_changes_confidence_and_nothing_else(scorer, adapter):
    plain = scorer.score(adapter, TEXTS)
    warmer = recorded(adapter, calibration=Calibration(3.0, 40, 0.2, 0.1, ()))
    found = scorer.score(warmer, TEXTS)
    for name in ("raw_score", "score", "probabilities", "trimmed_score"):
        np.testing.assert_array_equal(getattr(found, name), getattr(plain, name))
    points = plain.score - 1
    np.testing.assert_array_equal(found.confidence, confidences(plain.probabilities, points, 3.0))
    assert np.ptp(found.confidence) < np.ptp(plain.confidence)


def test_a_scaled_score_is_reported_where_the_item_wants_it(scorer, adapter):
    scaling = Scaling(human_mean=2.9, human_sd=3.0, machine_mean=2.0, machine_sd=0.5)
    both = recorded(adapter, scaling=scaling)
    plain, found = scorer.score(both, TEXTS), scorer.score(both, TEXTS, reported="scaled")
    expected = trimmed(scaled(plain.raw_score, scaling), adapter.scale)
    np.testing.assert_array_equal(found.scaled_score, expected)
    np.testing.assert_array_equal(plain.scaled_score, expected)
    np.testing.assert_array_equal(found.score, rounded(expected, adapter.scale))
    np.testing.assert_array_equal(plain.score, rounded(plain.raw_score, adapter.scale))
    assert not np.array_equal(found.score, plain.score)
    stated = found.probabilities[np.arange(len(TEXTS)), found.score - 1]
    np.testing.assert_allclose(found.confidence, stated, atol=1e-5)


def test_an_adapter_without_scaling_fails_its_own_group(scorer, adapter):
    groups = [Group(lambda: adapter, ["no"], reported="scaled"), Group(lambda: adapter, ["no"])]
    first, second = scorer.score_groups(groups)
    assert "holds no means and deviations to scale by: train it again" in str(first)
    assert len(second.score) == 1


def test_words_that_the_backbone_does_not_know_are_counted(scorer, adapter):
    scored = scorer.score(adapter, ["the bulb", "€ € bulb", "", "€ € bulb"])
    assert scored.unknown_tokens.tolist() == [0, 2, 0, 2]
    assert scored.tokens.tolist() == [4, 5, 2, 5]


def test_one_exact_scorer_serves_the_whole_process(tiny_backbone):
    assert exact_scorer(tiny_backbone) is exact_scorer(tiny_backbone)
    assert exact_scorer(tiny_backbone).precision == "fp32"


def test_probes_are_not_among_the_scores(scorer, adapter):
    with_probes = scorer.score(adapter, MANY)
    without = scorer.score(adapter, MANY, verify=False)
    assert len(with_probes.raw_score) == len(without.raw_score) == len(MANY)
    np.testing.assert_allclose(with_probes.raw_score, without.raw_score, atol=1e-5)


def test_weights_that_are_no_numbers_are_never_a_score(scorer, adapter):
    name, edit = next(iter(adapter.edits.items()))
    broken = replace(adapter, edits={**adapter.edits, name: replace(edit, scaling=float("nan"))})
    with pytest.raises(AdapterError, match="no numbers"):
        scorer.score(broken, TEXTS, verify=False)


def test_bf16_scores_are_close_to_fp32(tiny_backbone, scorer, adapter):
    exact = scorer.score(adapter, MANY)
    quick = Scorer(tiny_backbone, precision="bf16").score(adapter, MANY)
    assert np.abs(exact.raw_score - quick.raw_score).max() < 0.1
    assert not np.array_equal(exact.raw_score, quick.raw_score)


def test_copies_share_one_forward_and_its_time(scorer, adapter):
    scored = scorer.score(adapter, ["a warm bulb", *["no"] * 50])
    assert len(np.unique(scored.raw_score[1:])) == 1
    assert scored.latency_ms[0] > scored.latency_ms[1] > 0


def test_no_texts_no_rows(scorer, adapter):
    scored = scorer.score(adapter, [])
    assert scored.raw_score.shape == (0,)
    assert scored.probabilities.shape == (0, 3)


def test_an_adapter_of_another_backbone_is_refused(scorer, adapter):
    scoring = adapter.scoring.model_copy(update={"backbone_sha256": "f" * 64})
    with pytest.raises(AdapterError, match="is for backbone ffff"):
        scorer.score(replace(adapter, scoring=scoring), TEXTS)


def test_a_layer_that_scoring_does_not_use_is_refused(scorer, adapter):
    edit = next(iter(adapter.edits.values()))
    with pytest.raises(AdapterError, match=r"edits pooler\.dense"):
        scorer.score(replace(adapter, edits={"pooler.dense": edit}), TEXTS)


def test_an_adapter_without_probes_is_not_trusted(scorer, adapter):
    bare = replace(adapter, scoring=adapter.scoring.model_copy(update={"probes": ()}))
    with pytest.raises(AdapterError, match="holds no probe predictions"):
        scorer.score(bare, TEXTS)


def test_a_score_does_not_depend_on_what_its_neighbours_edit(tiny_backbone, adapter):
    """In bfloat16 too: a neighbour that edits every block must not change where others round."""
    names = [name for name in adapter.edits if ".0." in name and "attention" in name]
    narrow = replace(adapter, edits={name: adapter.edits[name] for name in names})
    scorer = Scorer(tiny_backbone, precision="bf16", threads=2)

    def scores(*adapters):
        groups = [Group(lambda one=one: one, TEXTS[:2], verify=False) for one in adapters]
        first, *_ = scorer.score_groups(groups)
        return first.raw_score

    assert np.array_equal(scores(narrow), scores(narrow, adapter))


def test_many_groups_that_wait_are_shared_in_turn(monkeypatch, tiny_backbone, adapter):
    batches = []
    submit = Queue._submit
    monkeypatch.setattr(
        Queue,
        "_submit",
        lambda queue, shares: (batches.append(len(shares)), submit(queue, shares))[1],
    )
    scorer = Scorer(tiny_backbone, precision="fp32", threads=1)
    groups = [Group(lambda: adapter, ["no"], verify=False)] * 200
    found = list(scorer.score_groups(groups))
    assert len({float(scored.raw_score[0]) for scored in found}) == 1
    assert batches == [65, 65, 65, 5]


def test_texts_longer_than_a_batch_are_computed_one_by_one(tiny_backbone, adapter):
    scorer = Scorer(tiny_backbone, precision="fp32", threads=1, token_budget=8)
    roomy = Scorer(tiny_backbone, precision="fp32", threads=1)
    texts = [f"warm air moves more than cold air does {number}" for number in range(3)]
    np.testing.assert_allclose(
        scorer.score(adapter, texts).raw_score, roomy.score(adapter, texts).raw_score, atol=1e-5
    )


def test_a_stored_probe_that_is_no_number_does_not_pass(scorer, adapter):
    wrong = adapter.scoring.probes[0].model_construct(text="no", raw_score=float("nan"))
    scoring = adapter.scoring.model_copy(update={"probes": (wrong, *adapter.scoring.probes)})
    with pytest.raises(AdapterError, match="does not reproduce"):
        scorer.score(replace(adapter, scoring=scoring), TEXTS)


def test_the_circumstances_name_all_that_decides_a_score(
    tiny_backbone, tiny_backbone_folder, tmp_path
):
    def circumstances(backbone, precision="fp32"):
        return Scorer(backbone, precision=precision).circumstances

    base = circumstances(tiny_backbone)
    assert base == circumstances(load_backbone(str(tiny_backbone_folder), tiny_backbone.max_tokens))
    assert base != circumstances(tiny_backbone, "bf16")
    assert base != circumstances(load_backbone(str(tiny_backbone_folder), 16))
    other = tmp_path / tiny_backbone_folder.name
    shutil.copytree(tiny_backbone_folder, other)
    tokenizer = json.loads((other / "tokenizer.json").read_text())
    (other / "tokenizer.json").write_text(json.dumps(tokenizer) + " ")
    assert base != circumstances(load_backbone(str(other), tiny_backbone.max_tokens))


@pytest.mark.parametrize("unit", ["qkv", "up"])
def test_a_wrong_kernel_is_noticed_before_anything_is_scored(monkeypatch, tiny_backbone, unit):
    plain = BertForward._plain

    def wrong(self, block, part, states, edits):
        output = plain(self, block, part, states, edits)
        return output * 0.5 if part == unit and edits.segments else output

    monkeypatch.setattr(BertForward, "_plain", wrong)
    with pytest.raises(BackboneError, match="nothing is scored"):
        Scorer(tiny_backbone, precision="fp32")


def moved_probes(adapter, *by):
    """The adapter with its stored probe predictions moved, in score points."""
    moved = tuple(
        probe.model_copy(update={"raw_score": probe.raw_score + points})
        for probe, points in zip(adapter.scoring.probes, by, strict=True)
    )
    return replace(adapter, scoring=adapter.scoring.model_copy(update={"probes": moved}))


@pytest.mark.parametrize(
    ("precision", "by", "passes"),
    [
        ("bf16", (0.06, 0, 0), True),  # one steep probe, as rounding moves it
        ("bf16", (0.06, -0.1, 0.08), False),  # all of them
        ("bf16", (0.35, 0, 0), False),
        ("fp32", (0.06, 0, 0), False),
    ],
)
def test_rounding_may_move_one_probe_but_not_all(tiny_backbone, adapter, precision, by, passes):
    adapter = moved_probes(with_three_probes(tiny_backbone, adapter), *by)
    scorer = Scorer(tiny_backbone, precision=precision, threads=1)
    if passes:
        assert len(scorer.score(adapter, ["the bulb"]).score) == 1
    else:
        with pytest.raises(AdapterError, match="does not reproduce its probe predictions"):
            scorer.score(adapter, ["the bulb"])


def with_three_probes(tiny_backbone, adapter):
    """The adapter with what it really scores three texts as stored probes."""
    texts = ["the bulb", "wire and battery", "water does not float"]
    raw = Scorer(tiny_backbone, precision="fp32", threads=1).score(adapter, texts, verify=False)
    probes = tuple(
        Probe(text=text, raw_score=value)
        for text, value in zip(texts, raw.raw_score.tolist(), strict=True)
    )
    return replace(adapter, scoring=adapter.scoring.model_copy(update={"probes": probes}))
