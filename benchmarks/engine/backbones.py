"""The two encoders: the embedded one, and BERT-base's shape with random weights."""

import shutil
from functools import cache
from pathlib import Path
from typing import Any

from models.backbone import EMBEDDED, Backbone, load_backbone, resolve_backbone

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench"
MAX_TOKENS = 256
TITLES = {"minilm": EMBEDDED, "bert-base": "BERT-base shape, random weights"}
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


@cache
def backbone(name: str) -> Backbone:
    """Load a backbone once per process.

    Args:
        name: a key of TITLES.
    """
    return load_backbone(str(source(name)), max_tokens=MAX_TOKENS)


def source(name: str) -> Path | str:
    """What a backbone is loaded from; the random one is made when it is first asked for."""
    return EMBEDDED if name == "minilm" else _bert_base()


def folder(name: str) -> Path:
    """Where a backbone's Hugging Face files lie."""
    return resolve_backbone(str(source(name))).folder


def plain_encoder(name: str, dtype: Any, attention: str = "sdpa") -> Any:
    """The Hugging Face encoder as a user has it, for rivals and for the reference.

    Args:
        name: a key of TITLES.
        dtype: torch's.
        attention: the library's name of an implementation.
    """
    from transformers import AutoModel

    model = AutoModel.from_pretrained(
        folder(name), dtype=dtype, attn_implementation=attention, local_files_only=True
    )
    return model.eval().requires_grad_(False)


def _bert_base() -> Path:
    path = BUILD / "bert-base" / "backbone"
    if not (path / "config.json").exists():
        import torch
        from transformers import BertConfig, BertModel

        tokens = resolve_backbone(EMBEDDED).folder
        path.mkdir(parents=True, exist_ok=True)
        for name in TOKENIZER_FILES:
            if (tokens / name).exists():
                shutil.copy(tokens / name, path / name)
        torch.manual_seed(12)
        # BertConfig's defaults are BERT-base; its vocabulary is the one of the copied tokeniser.
        BertModel(BertConfig()).eval().save_pretrained(path)
    return path
