"""The benchmark of shared lower blocks: what it compares, and what its page says."""

import pytest
from conftest import save_tiny_encoder

from benchmarks import sharing
from benchmarks.sharing_report import draw, markdown, saved
from models.backbone import load_backbone
from models.scorer import Scorer


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    folder = save_tiny_encoder(tmp_path_factory.mktemp("sharing") / "b", layers=8)
    return load_backbone(str(folder), max_tokens=64)


def test_every_system_runs_the_blocks_that_its_table_says(backbone):
    scorer = Scorer(backbone, precision="fp32", threads=1)
    for system in sharing.systems(8):
        adapters = sharing.adapters_of(system, backbone)
        assert len(adapters) == sharing.DISTINCT
        for adapter in adapters:
            assert scorer._encoder.depth(adapter) == system.shared
            own = 8 - system.shared if adapter.own is None else len(adapter.own.blocks)
            assert own == system.own
    separate, *_, topmost = sharing.systems(8)
    assert separate.layers(21) == 21 * 8
    assert topmost.layers(21) == 7 + 21


def test_a_system_is_timed_on_the_scores_that_are_asked_for(backbone):
    scorer = Scorer(backbone, precision="fp32", threads=1)
    adapters = sharing.adapters_of(sharing.systems(8)[-1], backbone)
    found = sharing._timed_scores(scorer, adapters, ["warm air", "no"], 4)
    assert 0 < found["computing_s"] < found["wall_s"] * 1.5


def test_a_backfill_is_timed_cold_and_warm(backbone):
    first, second, _ = sharing.adapters_of(sharing.systems(8)[2], backbone)
    texts = [f"warm air moves {'more ' * number}" for number in range(12)]
    found = sharing._timed_backfill(backbone, first, second, texts, "fp32")
    assert min(found["cold_s"], found["filling_s"], found["warm_s"]) > 0
    states = found["tokens_per_response"] * 32 * 4  # width, and bytes of a number
    assert states < found["bytes_per_response"] < states + 200


def made_summary():
    def rounds(*seconds):
        return [{"computing_s": s, "wall_s": s, "cpu_s": s} for s in seconds]

    many = {
        "backbone": "BERT",
        "texts": 10,
        "precision": "bf16",
        "systems": [
            {
                "name": name,
                "layers": {"1": 12, "8": blocks[0], "21": blocks[1]},
                "rounds": {"1": rounds(1, 1), "8": rounds(*eight), "21": rounds(*many)},
            }
            for name, blocks, eight, many in (
                ("a fully tuned model each", (96, 252), (8, 10), (21, 20)),
                ("upper block own", (19, 32), (1, 2), (2.1, 4)),
            )
        ],
    }
    backfill = {
        "backbone": "BERT",
        "texts": 10,
        "systems": [
            {
                "name": "upper block own",
                "shared": 11,
                "rounds": [
                    {"cold_s": 3.0, "filling_s": 4.0, "warm_s": 1.0, "bytes_per_response": 9e3},
                    {"cold_s": 5.0, "filling_s": 4.0, "warm_s": 1.0, "bytes_per_response": 9e3},
                ],
            }
        ],
    }
    return {
        "date": "2030-01-01",
        "machine": {"cores": 2, "processor": "a processor"},
        "versions": {},
        "rounds": 2,
        "load_at_start": 0.1,
        "many": [many],
        "backfill": [backfill],
    }


def test_time_saved_is_a_ratio_within_each_round():
    many = made_summary()["many"][0]
    assert saved(many, "upper block own", "21") == pytest.approx([0.9, 0.8])
    assert saved(many, "upper block own", "8") == pytest.approx([0.875, 0.8])


def test_the_page_tells_medians_and_spread(tmp_path):
    text = markdown(made_summary())
    assert "85.0% (80.0% to 90.0%)" in text
    assert "| 4.00 (3.00 to 5.00) | 9.0 |" in text
    assert "12, 19, 32" in text
    draw(made_summary(), tmp_path / "plot.svg")
    assert "scores of each text" in (tmp_path / "plot.svg").read_text()
