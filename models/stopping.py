"""Which epoch's weights are kept, and when it is no use to go on."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn


class Stopping:
    """Hears each epoch's validation QWK, keeps the best weights, says when to stop.

    The rate falls to zero over the planned epochs, so the last is as a rule the best; on a
    dozen held-out responses an earlier peak is chance. The last epoch is therefore kept unless
    an earlier one was better by more than noise, ``1 / (2 sqrt(n))``. Training stops early when
    ``patience`` epochs in a row were worse than the best by more than that.

    Args:
        parameters: what is trained; copied after each epoch that is the best so far.
        n_validation: held-out responses.
        patience, min_epochs: see ``models.fitting.Recipe``.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        n_validation: int,
        *,
        patience: int,
        min_epochs: int,
    ):
        self._parameters = parameters
        self._noise = 0.5 / np.sqrt(max(n_validation, 1))
        self._patience, self._min_epochs = patience, min_epochs
        self._best, self._best_epoch, self._weights = -np.inf, 0, self._copy()
        self._epochs, self._worse = 0, 0

    def is_due(self, qwk: float) -> bool:
        """Whether to stop after the epoch that has just ended with this QWK of the raw scores.

        A QWK that is not defined (one score among the held-out) compares as not worse.
        """
        if qwk > self._best:
            self._best, self._best_epoch, self._weights = qwk, self._epochs, self._copy()
        self._worse = self._worse + 1 if self._best - qwk > self._noise else 0
        self._epochs += 1
        return self._worse >= self._patience and self._epochs >= self._min_epochs

    def keep(self) -> int:
        """Give the parameters the weights that are kept; returns their epoch, from 0."""
        if not self._worse:
            return self._epochs - 1
        with torch.no_grad():
            for parameter, weight in zip(self._parameters, self._weights, strict=True):
                parameter.copy_(weight)
        return self._best_epoch

    def _copy(self) -> list[torch.Tensor]:
        return [parameter.detach().clone() for parameter in self._parameters]
