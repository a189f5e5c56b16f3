"""An item's own upper blocks: they follow the backbone's lower ones, which all items share.

With partial fine-tuning they are the backbone's upper blocks, trained in full; after compression
there are fewer of them (Wei, Qi, He 2021, "A flexible multi-task model for BERT serving", arXiv
2107.05377). Their numbers are kept in bfloat16, and what is kept is what scores: ``OwnBlocks.of``
rounds them before anything is measured.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.adapter_files import AdapterError, check_names
from models.tensor_files import tensors_of
from models.trunk import blocks_of

KEPT_IN = torch.bfloat16


@dataclass(frozen=True)
class OwnBlocks:
    """Blocks that follow the backbone's first ``first_block`` ones, and end the encoder.

    Attributes:
        first_block: number of shared blocks below, from 0.
        blocks: per own block its float32 tensors, by name within the block, such as
            ``attention.self.query.weight``. The i-th is built like the backbone's block
            ``first_block + i``.
    """

    first_block: int
    blocks: tuple[Mapping[str, Tensor], ...]

    @classmethod
    def of(cls, first_block: int, blocks: Sequence[nn.Module]) -> "OwnBlocks":
        """Copies of modules' parameters as they stand, rounded as they will be kept."""
        return cls(
            first_block,
            tuple(
                {name: _rounded(tensor) for name, tensor in block.state_dict().items()}
                for block in blocks
            ),
        )


def modules_of(own: OwnBlocks, model: nn.Module) -> list[nn.Module]:
    """The own blocks as modules, float32, built like those of the backbone they stand for.

    Raises:
        AdapterError: see ``checked_blocks``.
    """
    patterns = checked_blocks(own, model, "the adapter")[own.first_block :]
    return [
        _filled(pattern, tensors) for pattern, tensors in zip(patterns, own.blocks, strict=False)
    ]


def checked_blocks(own: OwnBlocks, model: nn.Module, where: object) -> nn.ModuleList:
    """The backbone's blocks, if an item's own fit them.

    Args:
        own: the blocks.
        model: the backbone's.
        where: what they came from, for the message.

    Raises:
        AdapterError: the backbone's blocks cannot be told apart, there are too many or none, or
            names or shapes differ from the backbone's.
    """
    blocks = blocks_of(model)
    if blocks is None:
        raise AdapterError(
            f"{where} has blocks of its own, but this backbone ({type(model).__name__}) is none "
            "whose blocks can be replaced: use LoRA with it"
        )
    most = len(blocks) - own.first_block
    if own.first_block < 0 or not 0 < len(own.blocks) <= most:
        raise AdapterError(
            f"{where} has {len(own.blocks)} blocks of its own after {own.first_block} shared ones; "
            f"this backbone has {len(blocks)} blocks in all"
        )
    for number, tensors in enumerate(own.blocks):
        expected = blocks[own.first_block + number].state_dict()
        check_names(_Place(where, number), tensors.keys(), expected.keys())
        for name, tensor in tensors.items():
            if tensor.shape != expected[name].shape:
                raise AdapterError(
                    f"{where}: own block {number} has a {name} of shape {tuple(tensor.shape)}, "
                    f"the backbone's is {tuple(expected[name].shape)}"
                )
    return blocks


def save_blocks(path: Path, own: OwnBlocks) -> None:
    """Write the blocks' tensors, as ``<block>.<name>``."""
    tensors = {
        f"{number}.{name}": tensor.to(KEPT_IN).contiguous()
        for number, block in enumerate(own.blocks)
        for name, tensor in block.items()
    }
    save_file(tensors, path, metadata={"format": "pt"})


def read_blocks(content: bytes, path: Path, first_block: int) -> OwnBlocks:
    """The blocks in the bytes of their file; ``checked_blocks`` says whether they fit a backbone.

    Raises:
        AdapterError: the file cannot be read, holds a name without a block's number, or lacks a
            block between others.
    """
    blocks: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors_of(content, path).items():
        number, _, rest = name.partition(".")
        if not (number.isdecimal() and number.isascii() and rest):
            raise AdapterError(f"{path}: {name} is no tensor of a numbered block")
        blocks.setdefault(int(number), {})[rest] = tensor
    if sorted(blocks) != list(range(len(blocks))):
        raise AdapterError(f"{path} holds the blocks {sorted(blocks)}; they must count from 0")
    return OwnBlocks(first_block, tuple(blocks[number] for number in range(len(blocks))))


@dataclass(frozen=True)
class _Place:
    """One own block, for messages."""

    where: object
    number: int

    def __str__(self) -> str:
        return f"{self.where}: own block {self.number}"


def _filled(block: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    filled = copy.deepcopy(block)
    filled.load_state_dict(tensors)
    return filled


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.detach().to(KEPT_IN).float().clone()
