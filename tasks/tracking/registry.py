"""The registry of adapters: versions, aliases and where their files are."""

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException

from tasks.metric_names import fitting
from tasks.tracking.runs import Child, log_child
from tasks.tracking.store import Tracking, pages, told

CHAMPION = "champion"
CHALLENGER = "challenger"
CARD = "model_card.md"
# The registry's own limits on its columns, in characters.
LONGEST_DESCRIPTION = 5000
LONGEST_VERSION_TAG = 5000
# What every version of an adapter has as tags.
IDENTITY = (
    "item_id", "trait", "adapter_sha256", "training_data_sha256", "recipe_sha256",
    "backbone_sha256",
)  # fmt: skip

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RegisteredAdapter:
    """One version of one (item, trait)'s adapter in the registry."""

    item_id: str
    trait: str
    version: int
    sha256: str
    training_data_sha256: str
    recipe_sha256: str
    backbone_sha256: str
    source: str


@dataclass(frozen=True)
class NewAdapter:
    """A trained adapter on its way into the registry.

    Attributes:
        folder: the adapter directory.
        metrics: figures of its training; those that are NaN are left out.
        tags: what else the version should say of itself, such as ``promotion`` and its reason.
        card: its model card in Markdown, see ``tasks.model_card``; empty where there is none.
    """

    item_id: str
    trait: str
    folder: Path
    sha256: str
    training_data_sha256: str
    recipe_sha256: str
    backbone_sha256: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str] = field(default_factory=dict)
    card: str = ""


@dataclass(frozen=True)
class Registry:
    """A programme's adapters and their aliases, as one look at the registry found them.

    Attributes:
        adapters: all versions, in the order of item, trait and version.
        aliases: (item_id, trait) to alias to version.
    """

    adapters: tuple[RegisteredAdapter, ...]
    aliases: Mapping[tuple[str, str], Mapping[str, int]]

    def having(self, alias: str) -> list[RegisteredAdapter]:
        """The adapters that carry an alias."""
        return [
            adapter
            for adapter in self.adapters
            if self.aliases[adapter.item_id, adapter.trait].get(alias) == adapter.version
        ]


def registered_name(programme: str, item_id: str, trait: str) -> str:
    """The registry's name for an (item, trait).

    MLflow refuses ``/`` and ``:`` in names and two ids may look alike once cleaned, so a short
    hash of the exact ids follows; the ids themselves are tags.
    """
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", f"{item_id}.{trait}").strip("-")[:80]
    exact = hashlib.sha256(f"{item_id}\x1f{trait}".encode()).hexdigest()[:8]
    return f"{programme}-{readable}-{exact}"


@told
def read_registry(tracking: Tracking) -> Registry:
    """Every adapter of this programme and who is champion and challenger, in one look.

    Programmes may share a server, and one's name may begin with the other's. So all models are
    looked through and their programme compared here, not in a pattern of MLflow's.
    """
    client = tracking.client()
    models = {
        model.name: model
        for model in pages(client.search_registered_models)
        if _is_of(model, tracking.programme)
    }
    found = [
        _registered(version)
        for version in pages(client.search_model_versions)
        if version.name in models and _says_what_it_is(version)
    ]
    return Registry(
        adapters=tuple(sorted(found, key=lambda one: (one.item_id, one.trait, one.version))),
        aliases={
            (model.tags["item_id"], model.tags["trait"]): {
                alias: int(version) for alias, version in model.aliases.items()
            }
            for model in models.values()
        },
    )


def list_adapters(tracking: Tracking, alias: str | None = None) -> list[RegisteredAdapter]:
    """Every adapter of this programme, or those that carry an alias, in the order of their ids."""
    registry = read_registry(tracking)
    return list(registry.adapters) if alias is None else registry.having(alias)


@told
def register_adapter(
    tracking: Tracking, parent_run_id: str, new: NewAdapter, day: date
) -> RegisteredAdapter:
    """Log a trained adapter as a child run, and enter it in the registry as a new version."""
    client = tracking.client()
    texts = {CARD: new.card} if new.card else {}
    child = Child(
        name=f"{new.item_id} {new.trait}",
        tags={"administration_date": day.isoformat(), **_identity(new), **new.tags},
        metrics={day: new.metrics},
        texts=texts,
        folders={"adapter": new.folder},
    )
    run_id, artifact_uri = log_child(client, parent_run_id, child)
    name = registered_name(tracking.programme, new.item_id, new.trait)
    _create_model(client, name, tracking.programme, new)
    version = client.create_model_version(
        name,
        source=f"{artifact_uri}/adapter",
        run_id=run_id,
        tags=_version_tags(new),
        description=fitting(new.card, LONGEST_DESCRIPTION) if new.card else None,
    )
    return _registered(version)


@told
def set_alias(tracking: Tracking, adapter: RegisteredAdapter, alias: str) -> None:
    """Make an adapter its item's champion, or its challenger.

    A champion that was the challenger until now stops being that.
    """
    client = tracking.client()
    name = registered_name(tracking.programme, adapter.item_id, adapter.trait)
    client.set_registered_model_alias(name, alias, str(adapter.version))
    if alias == CHAMPION:
        aliases = client.get_registered_model(name).aliases
        if str(aliases.get(CHALLENGER)) == str(adapter.version):
            client.delete_registered_model_alias(name, CHALLENGER)


@told
def tag_adapter(tracking: Tracking, adapter: RegisteredAdapter, tags: Mapping[str, str]) -> None:
    """Note something on an adapter's version, such as why it became champion."""
    client = tracking.client()
    name = registered_name(tracking.programme, adapter.item_id, adapter.trait)
    for key, value in tags.items():
        fitted = fitting(value, LONGEST_VERSION_TAG)
        client.set_model_version_tag(name, str(adapter.version), key, fitted)


def _create_model(client: MlflowClient, name: str, programme: str, new: NewAdapter) -> None:
    tags = {"programme": programme, "item_id": new.item_id, "trait": new.trait}
    try:
        client.create_registered_model(name, tags=tags)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        for key, value in tags.items():
            client.set_registered_model_tag(name, key, value)


def _identity(new: NewAdapter) -> dict[str, str]:
    return {
        "item_id": new.item_id,
        "trait": new.trait,
        "adapter_sha256": new.sha256,
        "training_data_sha256": new.training_data_sha256,
        "recipe_sha256": new.recipe_sha256,
        "backbone_sha256": new.backbone_sha256,
    }


def _version_tags(new: NewAdapter) -> dict[str, str]:
    metrics = {f"metric.{name}": str(value) for name, value in new.metrics.items()}
    tags = {name: fitting(value, LONGEST_VERSION_TAG) for name, value in new.tags.items()}
    return {**tags, **metrics, **_identity(new)}


def _says_what_it_is(version: ModelVersion) -> bool:
    """Whether a version says what it is: one that was made by hand may not."""
    lacking = [name for name in IDENTITY if name not in version.tags]
    if lacking:
        logger.warning(
            "version %s of %s in MLflow's registry lacks the tags %s and is not used: register "
            "adapters with `gradeline train` or `gradeline import-adapter`",
            version.version,
            version.name,
            ", ".join(lacking),
        )
    return not lacking


def _registered(version: ModelVersion) -> RegisteredAdapter:
    tags = version.tags
    return RegisteredAdapter(
        item_id=tags["item_id"],
        trait=tags["trait"],
        version=int(version.version),
        sha256=tags["adapter_sha256"],
        training_data_sha256=tags["training_data_sha256"],
        recipe_sha256=tags["recipe_sha256"],
        backbone_sha256=tags["backbone_sha256"],
        source=str(version.source),
    )


def _is_of(model: RegisteredModel, programme: str) -> bool:
    """Whether a model is the programme's: its name is the one that its ids have there.

    The ids being given, no other programme leads to that name.
    """
    tags = model.tags
    if not {"item_id", "trait"} <= tags.keys():
        return False
    name = registered_name(programme, tags["item_id"], tags["trait"])
    return bool(model.name == name and tags.get("programme", programme) == programme)
