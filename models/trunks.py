"""What the shared trunk makes of texts: read from the cache where it is kept, else computed."""

import threading
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.edits import Trunk
from models.encoder import Encoder
from models.kernels import DTYPES
from models.packing import Packed
from models.trunk_cache import States, TrunkCache, TrunkStates, key_of


class Trunks:
    """The trunk of one encoder, at any depth; threads may share it.

    Args:
        encoder: computes what is not kept.
        cache: what is kept between runs; None: nothing is. Not used where a text's states depend
            on the texts beside it: scores would hang on what earlier runs scored together.
        space: all that the encoder's states depend on, see ``TrunkCache.open``.
        width: numbers of a token's state.
    """

    def __init__(self, encoder: Encoder, cache: TrunkCache | None, space: str, width: int):
        self._encoder, self._space, self._width = encoder, space, width
        self._cache = cache if encoder.is_row_independent else None
        self._kept: dict[int, TrunkStates] = {}
        self._lock = threading.Lock()

    def of(
        self, packed: Packed, token_ids: Sequence[NDArray[np.int64]], depth: int
    ) -> Trunk | None:
        """What the first ``depth`` blocks make of a batch; None for depth 0.

        Args:
            packed: the texts.
            token_ids: the same texts.
            depth: number of blocks.
        """
        kept = self._kept_at(depth)
        if kept is None:
            return self._encoder.trunk(packed, depth)
        keys = [key_of(ids) for ids in token_ids]
        found = kept.find(keys)
        missing = [number for number, states in enumerate(found) if states is None]
        if len(missing) == len(keys):
            computed = self._encoder.trunk(packed, depth)
            kept.add(keys, self._split(computed, packed))
            return computed
        if missing:
            texts = [token_ids[number] for number in missing]
            rest = self._encoder.packed(texts)
            states = self._split(self._encoder.trunk(rest, depth), rest)
            kept.add([keys[number] for number in missing], states)
            for number, array in zip(missing, states, strict=True):
                found[number] = array
        return Trunk(depth, self._joined(found, packed))

    def flush(self) -> None:
        """Write what was computed, so that the next run finds it."""
        with self._lock:
            kept = list(self._kept.values())
        for states in kept:
            states.flush()

    def _kept_at(self, depth: int) -> TrunkStates | None:
        if self._cache is None or depth == 0:
            return None
        with self._lock:
            if depth not in self._kept:
                self._kept[depth] = self._cache.open(
                    self._space, depth, self._width, self._encoder.precision
                )
            return self._kept[depth]

    def _split(self, trunk: Trunk | None, packed: Packed) -> list[States]:
        """Each text's states, as the cache holds them."""
        states = torch.empty(0) if trunk is None else trunk.states[: packed.tokens].cpu()
        stored = _as_stored(states)
        stops = np.cumsum(packed.sizes)
        return [stored[stop - size : stop] for size, stop in zip(packed.sizes, stops, strict=True)]

    def _joined(self, found: Sequence[States | None], packed: Packed) -> Tensor:
        """The states of all texts, and zeros for filler."""
        texts = [states for states in found if states is not None]
        filler = np.zeros((packed.filler, self._width), dtype=texts[0].dtype)
        whole = torch.from_numpy(np.concatenate([*texts, filler]))
        dtype = DTYPES[self._encoder.precision]
        return (whole.view(dtype) if whole.dtype != dtype else whole).to(self._encoder.device)


def _as_stored(states: Tensor) -> States:
    """bfloat16 as its bits, float32 as it is."""
    found: States = (
        states.view(torch.uint16).numpy() if states.dtype == torch.bfloat16 else states.numpy()
    )
    return found
