"""A head's tensors in ``head.safetensors``, and what ``scoring.json`` says of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from models.adapter_files import AdapterError, check_names
from models.heads import Dense, Head, Norm, outputs_of
from models.scores import Scale
from models.scoring_record import HeadRecord
from models.tensor_files import tensors_of


def describes(record: HeadRecord, head: Head) -> bool:
    """Whether a record is that of such a head."""
    return all(getattr(record, name) == value for name, value in head_record(head).items())


def head_record(head: Head) -> dict[str, Any]:
    """A head's record, by field of ``HeadRecord``."""
    dense = head.dense
    norm = None if dense is None else dense.norm
    return {
        "head": head.kind,
        "pooling": head.pooling,
        "head_tensors": tuple(sorted(head_tensors(head))),
        "activation": None if dense is None else dense.activation,
        "norm_eps": None if norm is None else norm.eps,
    }


def head_tensors(head: Head) -> dict[str, Tensor]:
    """What ``head.safetensors`` holds of a head."""
    dense = head.dense
    norm = None if dense is None else dense.norm
    tensors = {
        "weight": head.weight,
        "bias": head.bias,
        "dense.weight": None if dense is None else dense.weight,
        "dense.bias": None if dense is None else dense.bias,
        "norm.weight": None if norm is None else norm.weight,
        "norm.bias": None if norm is None else norm.bias,
    }
    return {name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}


def read_head(
    content: bytes, path: Path, record: HeadRecord, scale: Scale, hidden_size: int
) -> Head:
    """A head from the bytes of its file.

    Args:
        content: the file's.
        path: where it came from, for errors.
        record: from ``scoring.json``.
        scale: the item's.
        hidden_size: the backbone's.

    Raises:
        AdapterError: a tensor is missing, one too many, or of the wrong shape.
    """
    tensors = tensors_of(content, path)
    check_names(path, tensors.keys(), record.head_tensors)
    try:
        head = _head(tensors, record)
    except KeyError as error:
        raise AdapterError(f"{path} lacks {error}, which its record asks for") from None
    if not describes(record, head):
        raise AdapterError(f"{path} holds tensors for which its record gives no activation or eps")
    check_shapes(head, scale, hidden_size, path)
    return head


def check_shapes(head: Head, scale: Scale, hidden_size: int, path: Path) -> None:
    """Refuse a head that does not fit the backbone or the scale.

    Raises:
        AdapterError: naming ``path``, where the head came from.
    """
    shapes = _shapes(head, scale, hidden_size)
    for name, tensor in head_tensors(head).items():
        if tensor.shape != shapes[name]:
            raise AdapterError(
                f"{path}: {name} has the shape {tuple(tensor.shape)}; a {head.kind} head for the "
                f"scale {scale.score_min}..{scale.score_max} needs {shapes[name]}"
            )


def _head(tensors: Mapping[str, Tensor], record: HeadRecord) -> Head:
    dense = norm = None
    if record.norm_eps is not None:
        norm = Norm(tensors["norm.weight"], tensors.get("norm.bias"), record.norm_eps)
    if record.activation is not None:
        weight, bias = tensors["dense.weight"], tensors.get("dense.bias")
        dense = Dense(weight, bias, record.activation, norm)
    return Head(record.head, record.pooling, dense, tensors["weight"], tensors.get("bias"))


def _shapes(head: Head, scale: Scale, hidden_size: int) -> dict[str, tuple[int, ...]]:
    width = hidden_size if head.dense is None else len(head.dense.weight)
    outputs = outputs_of(head.kind, scale)
    return {
        "dense.weight": (width, hidden_size),
        "dense.bias": (width,),
        "norm.weight": (width,),
        "norm.bias": (width,),
        "weight": (outputs, width),
        "bias": (outputs,),
    }
