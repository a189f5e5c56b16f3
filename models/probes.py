"""Probes: what an adapter said of a few fixed texts when it was made, to be heard again later."""

from dataclasses import replace

from models.adapters import Adapter
from models.scorer import Scorer
from models.scoring_record import probes_of

# Written for this project: adapters travel, so no student's text may be among them.
PROBE_TEXTS = (
    "The lamp stays dark because one wire has come off the battery.",
    "i dont know",
    "Plants take in carbon dioxide and give off oxygen while light falls on their leaves.",
    "It sinks because it is heavier than the same amount of water, the other one floats.",
    "7",
)


def with_probes(adapter: Adapter, scorer: Scorer) -> Adapter:
    """The adapter with what it says of PROBE_TEXTS.

    Args:
        adapter: one that has just been made.
        scorer: in float32, see ``models.scorer.exact_scorer``.
    """
    raw_scores = scorer.score(adapter, PROBE_TEXTS, verify=False).raw_score
    probes = probes_of(PROBE_TEXTS, raw_scores)
    return replace(adapter, scoring=adapter.scoring.model_copy(update={"probes": probes}))
