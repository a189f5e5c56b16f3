"""Fixtures that several test files share."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Models this small lose more to threads than they gain.
os.environ.setdefault("OMP_NUM_THREADS", "1")

WORDS = (
    "the a is it to of and because bulb battery wire path closed open light heavy water float "
    "sink plant air warm cold not no yes i think does moves stays more less than same switch"
)


def save_tiny_encoder(folder: Path, family: str = "bert", layers: int = 2) -> Path:
    """A random encoder of 32 hidden units and a word-level tokeniser, as Hugging Face files."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?'"
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split()]
    vocabulary += [piece for c in letters for piece in (c, f"##{c}") if piece not in vocabulary]
    ids = {word: number for number, word in enumerate(vocabulary)}
    special = {"unk_token": "[UNK]", "pad_token": "[PAD]"}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token=special["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(11)
    config = AutoConfig.for_model(
        family,
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=72,
        pad_token_id=0,
    )
    AutoModel.from_config(config).eval().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a two-layer BERT, its weights random but always the same."""
    return save_tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny-bert")


@pytest.fixture(scope="session")
def tiny_backbone(tiny_backbone_folder: Path):
    """The tiny encoder, loaded; texts are cut at 64 tokens."""
    from models.backbone import load_backbone

    return load_backbone(str(tiny_backbone_folder), max_tokens=64)
