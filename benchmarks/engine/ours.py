"""The scoring engine as the nightly flow runs it: adapters are read when their turn comes."""

from collections.abc import Sequence
from functools import partial
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.engine.adapters import adapter_folder, base_adapter
from benchmarks.engine.backbones import backbone
from benchmarks.engine.mixes import ItemWork
from benchmarks.engine.systems import Clock, Logits, Place, Setting
from models.adapters import Adapter, load_adapter
from models.scored import Scored
from models.scorer import Group, Scorer

SMALLEST = 1e-7


class Engine:
    """Reading, checking and applying each adapter is timed, as on every night but its first.

    On the first night its probe texts are scored besides.
    """

    def __init__(self, place: Place):
        self.place = place
        self.backbone = backbone(place.backbone)
        precision = cast("Literal['bf16', 'fp32']", place.precision)
        self.scorer = Scorer(self.backbone, precision=precision)

    def prepare(self, numbers: Sequence[int]) -> dict[str, float]:
        """See ``System``."""
        for number in numbers:
            adapter_folder(self.place.backbone, self.place.variant, number)
        return {}

    def run(self, items: Sequence[ItemWork], setting: Setting, clock: Clock) -> list[Logits]:
        """See ``System``; the setting is the engine's own affair."""
        with clock.phase("score"):
            groups = [
                Group(partial(self._adapter, item.number), item.texts, verify=False)
                for item in items
            ]
            results = list(self.scorer.score_groups(groups))
        return [threshold_logits(result) for result in results]

    def _adapter(self, number: int) -> Adapter:
        folder = adapter_folder(self.place.backbone, self.place.variant, number)
        return load_adapter(folder, self.backbone)


class Ceiling(Engine):
    """The same texts as one group of the base model with one head: the engine without adapters."""

    def run(self, items: Sequence[ItemWork], setting: Setting, clock: Clock) -> list[Logits]:
        """See ``System``; the logits are the base model's."""
        texts = [text for item in items for text in item.texts]
        adapter = base_adapter(self.backbone)
        with clock.phase("score"):
            (result,) = self.scorer.score_groups([Group(lambda: adapter, texts, verify=False)])
        logits = threshold_logits(result)
        sizes = np.cumsum([len(item.texts) for item in items])[:-1]
        return np.split(logits, sizes)


def threshold_logits(result: Scored | Exception) -> NDArray[np.float32]:
    """The logits behind an ordinal head's probabilities, float32 [n, K-1].

    Raises:
        Exception: the result, where it is an error.
    """
    if isinstance(result, Exception):
        raise result
    points = torch.from_numpy(result.probabilities).double()
    above = points.flip(1).cumsum(1).flip(1)[:, 1:]
    return torch.logit(above, eps=SMALLEST).float().numpy()
