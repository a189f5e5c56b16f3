"""Taking in a PEFT classifier: registered as challenger, refused in a sentence, never twice."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

from flows import cli, import_adapter
from flows.scoring import tracking_of
from flows.settings import load_settings
from models.adapter_folders import adapter_sha256
from models.adapters import load_adapter
from models.backbone import load_backbone
from models.scorer import Scorer
from tasks import tracking
from tasks.tracking import CHALLENGER, CHAMPION
from warehouse import db, items, reports

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers")

ITEMS = [
    items.ItemRow("042", "overall", 1, 3),
    items.ItemRow("042", "ideas", 1, 3),
    items.ItemRow("043", "overall", 0, 1),
]


@pytest.fixture(scope="module")
def peft_folder(tiny_backbone_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of three labels that PEFT has saved; the second is always the likeliest."""
    torch.manual_seed(4)
    plain = AutoModelForSequenceClassification.from_pretrained(tiny_backbone_folder, num_labels=3)
    config = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query"], init_lora_weights=False)
    with torch.no_grad():
        plain.classifier.bias.copy_(torch.tensor([0.0, 9.0, 0.0]))
    folder = tmp_path_factory.mktemp("peft") / "adapter"
    get_peft_model(plain, config).save_pretrained(folder)
    return folder


@pytest.fixture
def home(tiny_backbone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace with a bank; the flow runs as a plain function, without Prefect's server."""
    monkeypatch.setenv("GRADELINE_BACKBONE", str(tiny_backbone_folder))
    monkeypatch.setenv("GRADELINE_MAX_TOKENS", "64")
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    plain = import_adapter.import_adapter.fn
    monkeypatch.setattr(import_adapter, "import_adapter", plain)
    with db.connect(load_settings(tmp_path).warehouse) as connection:
        items.add_items(connection, ITEMS)
    return tmp_path


def gradeline(home: Path, *arguments: str) -> int:
    return cli.main(["--home", str(home), "import-adapter", *arguments])


def last_run(home: Path) -> reports.Run | None:
    with db.connect(load_settings(home).warehouse, read_only=True) as connection:
        return reports.last_run(connection, "import")


def test_an_imported_adapter_is_a_challenger_that_scores(
    home: Path, peft_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gradeline(home, str(peft_folder), "--item", "042", "--trait", "ideas", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["version"], answer["alias"], answer["is_new"]) == (1, "challenger", True)
    settings = load_settings(home)
    where = tracking_of(settings)
    assert tracking.list_adapters(where, CHAMPION) == []
    (registered,) = tracking.list_adapters(where, CHALLENGER)
    assert (registered.item_id, registered.trait) == ("042", "ideas")
    assert registered.sha256 == answer["sha256"]
    (version,) = where.client().search_model_versions()
    assert version.tags["promotion"] == "ask"
    assert "nobody here knows what it was trained on" in version.tags["promotion_reason"]
    assert "# Model card: item 042" in version.description
    shutil.rmtree(settings.adapters)  # the registry has a copy
    folder = tracking.fetch_adapter(where, registered, settings.adapters)
    assert adapter_sha256(folder) == registered.sha256
    backbone = load_backbone(settings.backbone, max_tokens=64)
    scored = Scorer(backbone).score(load_adapter(folder, backbone), ["the bulb", "no"])
    assert scored.score.tolist() == [2, 2]
    run = last_run(home)
    assert run is not None
    assert run.status == "done"


def test_the_same_adapter_is_registered_once(
    home: Path, peft_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gradeline(home, str(peft_folder), "--item", "042") == 0
    assert "042 (overall): imported, v1 is challenger" in capsys.readouterr().out
    assert gradeline(home, str(peft_folder), "--item", "042") == 0
    assert "had been imported before, v1 is challenger" in capsys.readouterr().out
    where = tracking_of(load_settings(home))
    (registered,) = tracking.list_adapters(where)
    tracking.set_alias(where, registered, CHAMPION)
    assert gradeline(home, str(peft_folder), "--item", "042") == 0
    assert "v1 is champion" in capsys.readouterr().out
    assert tracking.list_adapters(where, CHALLENGER) == []


def test_an_item_that_is_not_in_the_bank_is_refused(
    home: Path, peft_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gradeline(home, str(peft_folder), "--item", "043", "--trait", "ideas") == 2
    assert "no item '043' with the trait 'ideas'" in capsys.readouterr().err
    assert last_run(home) is None


def test_a_classifier_for_another_scale_is_refused_and_leaves_nothing(
    home: Path, peft_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gradeline(home, str(peft_folder), "--item", "043") == 2
    assert "has 3 labels, the item's scale 0..1 has 2 points" in capsys.readouterr().err
    settings = load_settings(home)
    assert not settings.adapters.exists()
    assert not settings.parts.exists()
    run = last_run(home)
    assert run is not None
    assert run.status == "failed"
