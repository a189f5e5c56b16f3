"""The verbs: each flow reads as the order of its steps."""

import logging

# What a run says reaches whoever listens: a terminal, a worker's log, Prefect's pages.
for ours in ("flows", "tasks", "models", "warehouse"):
    logging.getLogger(ours).setLevel(logging.INFO)
