"""Tensors out of the bytes of a safetensors file, checked."""

from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from models.adapter_files import AdapterError


def tensors_of(content: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, as float32.

    Args:
        content: the file's.
        path: where it came from, for errors.

    Raises:
        AdapterError: it is no safetensors file, or holds something else than finite numbers.
    """
    try:
        tensors: dict[str, Tensor] = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise AdapterError(f"{path} cannot be read: {error}") from error
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise AdapterError(f"{path}: {name} holds {tensor.dtype}, not floating-point numbers")
        tensors[name] = tensor.float()
        # NumPy looks at the numbers once, torch three times.
        if not np.isfinite(tensors[name].numpy()).all():
            raise AdapterError(f"{path}: {name} holds values that are not finite numbers")
    return tensors
