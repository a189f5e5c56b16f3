"""Memory that is free but still held, and pages that are not needed for now."""

import ctypes
import mmap
from collections.abc import Iterable
from functools import cache

import torch

# mallopt's names for them, and the most that glibc takes for the second.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES, OWN_MAPPING_BYTES = 1 << 26, 1 << 25
# madvise's name for it; Python has none.
MADV_PAGEOUT = 21


@cache
def keep_freed() -> None:
    """Keep freed memory for the next batch, where the C library is glibc.

    By default each batch's activations go back to the system when they are freed, and come again
    page by page, cleared: 6% of the time of scoring small groups. It holds for the whole
    process; ``give_back`` frees what is kept.
    """
    setting = _function("mallopt")
    if setting is not None:
        setting(M_TRIM_THRESHOLD, KEPT_BYTES)
        setting(M_MMAP_THRESHOLD, OWN_MAPPING_BYTES)


def give_back() -> None:
    """Return freed memory to the system, where the C library knows how."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def page_out(tensors: Iterable[torch.Tensor]) -> None:
    """Tell the system that tensors are not needed for now, where it can be told.

    What is mapped from a file costs no memory until it is read again. Nothing is lost.
    """
    advise = _function("madvise")
    if advise is None:
        return
    size = mmap.PAGESIZE
    for tensor in tensors:
        start = -(-tensor.data_ptr() // size) * size
        stop = (tensor.data_ptr() + tensor.nbytes) // size * size
        if start < stop:
            advise(ctypes.c_void_p(start), ctypes.c_size_t(stop - start), MADV_PAGEOUT)


@cache
def _function(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None)
