"""Does the recipe hold for a large item? 1,700 answers to learn from, 425 to score.

No public item here is that large, so answers to SemEval's Beetle questions, which share one
topic and one scale, are pooled into one. The question is not part of the input, so nobody can
score them well; what counts is the order of the ways of scoring.

    python -m benchmarks.large_item
"""

import os
import sys
import time

import numpy as np

from benchmarks.public_data import read_items
from benchmarks.quality import ARMS, DATA, scorer_of
from benchmarks.quality_arms import SEED, Fold
from models.agreement import exact_agreement, quadratic_weighted_kappa

N_KNOWN, N_UNKNOWN = 1700, 425


def main(arms: list[str]) -> None:
    """Print QWK, exact agreement and CPU seconds of each arm."""
    os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    items = [item for item in read_items(DATA) if item.item_id.startswith("beetle.")]
    ids = [name for item in items for name in item.response_ids]
    texts = [text for item in items for text in item.texts]
    scores = np.concatenate([item.scores for item in items])
    chosen = np.random.default_rng(SEED).permutation(len(texts))[: N_KNOWN + N_UNKNOWN].tolist()
    known, unknown = chosen[:N_KNOWN], chosen[N_KNOWN:]
    fold = Fold(
        item_id="beetle-pooled",
        score_max=2,
        ids=[ids[i] for i in known],
        texts=[texts[i] for i in known],
        scores=scores[known],
        unknown=[texts[i] for i in unknown],
    )
    print(f"{'':40s} {'QWK':>6s} {'exact':>6s} {'CPU-s':>6s}")
    for arm in arms:
        started = time.process_time()
        machine = scorer_of(arm)(fold)
        cpu_s = time.process_time() - started
        qwk = quadratic_weighted_kappa(scores[unknown], machine)
        exact = exact_agreement(scores[unknown], machine)
        print(f"{ARMS[arm]:40s} {qwk:6.3f} {exact:6.1%} {cpu_s:6.0f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(ARMS))
