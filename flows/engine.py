"""What a host scores with, from its settings, and what the ledger calls it."""

from flows.settings import Settings
from models.backbone import resolve_backbone
from models.devices import DeviceName
from models.kernels import Precision, engine_of
from tasks.inference import Engine


def engine_with(
    settings: Settings,
    precision: Precision,
    *,
    max_tokens: int | None = None,
    device: DeviceName | None = None,
    threads: int | None = None,
) -> Engine:
    """The engine of a host; what is not given is as its settings say.

    Args:
        settings: the host's.
        precision: of the backbone's arithmetic.
        max_tokens: longest input.
        device: where batches are computed.
        threads: batches side by side; None: one per core.
    """
    return Engine(
        backbone=settings.backbone,
        max_tokens=max_tokens or settings.max_tokens,
        precision=precision,
        device=device or settings.device,
        trunk_cache=settings.trunk_cache if settings.trunk_cache_gb else None,
        trunk_cache_bytes=round(settings.trunk_cache_gb * 1e9),
        threads=threads,
    )


def engine_name(engine: Engine, settings_sha256: str | None = None) -> str:
    """What decides a score beside text, adapter and the backbone's weights.

    Args:
        engine: what scores.
        settings_sha256: of the backbone's configuration and tokeniser; looked up if not given.

    Raises:
        BackboneError: there is no such backbone.
    """
    found = settings_sha256 or resolve_backbone(engine.backbone).settings_sha256
    name = f"{engine_of(engine.precision)} {engine.max_tokens} tokens {found[:12]}"
    return name if engine.device == "cpu" else f"{name} {engine.device}"
