"""How fast the scoring engine is, side by side with what else a user could run.

``python -m benchmarks.engine`` (``make bench``) measures; ``python -m benchmarks.engine.check``
(``make bench-check``) holds the newest figures against their targets. The files, in reading order:

    words, mixes        the texts: made here from word lists, three mixes of work
    backbones, adapters the two encoders, and adapters with random non-zero weights
    merged              every adapter as a model of its own, for the rivals that need one
    batches, reference  padded batches for the rivals; the logits that all must reproduce
    systems             what a system is, and the list of them
    ours, ceiling       the engine, its upper bound and the machine's own product rates
    rivals_*            PEFT, whole models, compiled models
    workers, measure    processes that hold the systems; interleaved rounds
    tuning              each rival's best layout, token budget and rounding
    memory, latency, precision, drift   the other figures
    figures, check      ratios over rounds, and the table of targets
    report, plots, log  what is written
"""
