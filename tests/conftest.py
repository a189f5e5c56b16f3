"""Fixtures that several test files share."""

import os
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Models this small lose more to threads than they gain.
os.environ.setdefault("OMP_NUM_THREADS", "1")

WORDS = (
    "the a is it to of and because bulb battery wire path closed open light heavy water float "
    "sink plant air warm cold not no yes i think does moves stays more less than same switch"
)


# What a tiny model of a family needs beside a BERT's sizes. Both kinds of ModernBERT's layers and
# fewer key than query heads in decoders; windows that texts of the tests are longer than.
FAMILIES: dict[str, dict[str, Any]] = {
    "deberta-v2": {
        "relative_attention": True,
        "position_biased_input": False,
        "position_buckets": 8,
        "max_relative_positions": 24,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
        "type_vocab_size": 0,
    },
    "modernbert": {
        "local_attention": 16,
        "global_attn_every_n_layers": 2,
        **{f"{token}_token_id": 2 for token in ("bos", "cls")},
        **{f"{token}_token_id": 3 for token in ("eos", "sep")},
    },
    "llama": {"num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 3},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 9, "bos_token_id": 2},
    "qwen2": {
        "num_key_value_heads": 2,
        "use_sliding_window": True,
        "sliding_window": 12,
        "max_window_layers": 1,
        "bos_token_id": 0,
    },
    "qwen3": {"num_key_value_heads": 1, "head_dim": 8, "bos_token_id": 0},
    "mpnet": {"pad_token_id": 1},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma3_text": {"num_key_value_heads": 2, "head_dim": 8, "query_pre_attn_scalar": 32},
}
# The markers a family's tokeniser puts around a text; Qwen's puts none.
TEMPLATES = {"llama": "[CLS] $A", "mistral": "[CLS] $A", "qwen2": None, "qwen3": None}


def save_tiny_encoder(folder: Path, family: str = "bert", layers: int = 2, **settings: Any) -> Path:
    """A random backbone of 32 hidden units and a word-level tokeniser, as Hugging Face files.

    Settings override the configuration. Larger weights (``initializer_range``) make every
    token's place and neighbours matter, as they do in a trained model.
    """
    import torch
    from transformers import AutoConfig, AutoModel

    vocabulary = save_tiny_tokenizer(folder, TEMPLATES.get(family, "[CLS] $A [SEP]"))
    sizes = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 72,
        "pad_token_id": 0,
    }
    torch.manual_seed(11)
    config = AutoConfig.for_model(family, **sizes | FAMILIES.get(family, {}) | settings)
    AutoModel.from_config(config).eval().save_pretrained(folder)
    return folder


def save_tiny_tokenizer(folder: Path, template: str | None) -> list[str]:
    """Words, letters and their continuations; returns the vocabulary.

    Without a template no text gets a marker, as with Qwen's, where one token pads and ends.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?'"
    pad = "<|endoftext|>" if template is None else "[PAD]"
    vocabulary = [pad, "[UNK]", "[CLS]", "[SEP]", *WORDS.split()]
    vocabulary += [piece for c in letters for piece in (c, f"##{c}") if piece not in vocabulary]
    ids = {word: number for number, word in enumerate(vocabulary)}
    special = {"unk_token": "[UNK]", "pad_token": pad}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=special["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if template is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return vocabulary


@pytest.fixture(scope="session")
def tiny_backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a two-layer BERT, its weights random but always the same."""
    return save_tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny-bert")


@pytest.fixture(scope="session")
def tiny_backbone(tiny_backbone_folder: Path):
    """The tiny encoder, loaded; texts are cut at 64 tokens."""
    from models.backbone import load_backbone

    return load_backbone(str(tiny_backbone_folder), max_tokens=64)


from workspaces import (  # noqa: E402 - after the settings above
    backbone_setting,
    home,
    prefect_server,
    trained,
)

__all__ = ["backbone_setting", "home", "prefect_server", "trained"]
