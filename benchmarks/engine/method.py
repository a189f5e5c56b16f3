"""How it was measured, for the page: what every rival was given, and what was not counted."""

METHOD = [
    "## How it was measured",
    "",
    "- Every system does the same work, from strings to scores, tokenising included, and its "
    "logits on a few texts of two items must match those of the library's own forward (fp32, one "
    "text at a time, adapter merged) to 1e-3 in fp32; otherwise nothing is measured. int8 is "
    "shown for its speed alone: nothing is claimed for its scores.",
    "- All systems use both cores. Each rival was tuned on each mix on this machine: one process "
    "with two threads or two processes with one, which divide the items; 1,024 to 8,192 tokens a "
    "batch; widths rounded to 1, 8 or 16. B2', B0 and B6 *as users run them* have the defaults.",
    "- Rounds are interleaved: each takes the mix's next items, every system scores them, then "
    "the next round, every other one in reverse. Slow systems get a part of a round's items or "
    "responses; rates are per real token, and systems that sort by length always get whole "
    "groups. A ratio is the median of the rounds' own ratios. BERT-base runs on fewer items per "
    "round, on the third mix on 80 responses of each, 32 for B2' and B6.",
    "- gradeline reads, checks and applies every adapter from disk within the time measured, its "
    "probe texts included. PEFT's adapters are loaded beforehand (its loading time is in the "
    "JSON file), with `low_cpu_mem_usage`, `autocast_adapter_dtype=False` and `inference_mode`; "
    "B3 loads within the time. In two processes each loads only its own items' adapters.",
    "- B0 and B6 load checkpoints from the page cache; B1 is B0 without its loads, all models "
    "being resident. Two dozen checkpoints exist, a later item uses an earlier one's.",
    "- B7 runs models converted and optimised beforehand, 14 of them in turn (4 of BERT-base's "
    "size); *loads counted* adds reading a session or a compiled model from OpenVINO's own cache "
    "for each item, not its first compilation, which takes two to three times as long.",
    "- sentence-transformers sorts by length by itself, so it is no arrival-order baseline; it is "
    "shown beside the pipeline.",
    "- The ceiling is the base model with one head on the same texts as one group, by the engine. "
    "The machine's rate is that of the encoder's linear layers alone on 2,048 rows with weights "
    "laid out beforehand, one process of one thread on each core. The share of it counts the "
    "engine's products in linear layers and in attention.",
    "- The latency target is held against B0 as users run it. With the engine's own batching and "
    "precision a model loaded in turn is another thing: its rows are in the tables.",
    "- Adapters: rank 8 on the upper half of the blocks, the training recipe's shape, with random "
    "weights that are not zero and an ordinal head; rank 16 on all blocks is shown for the "
    "paper's mix. BERT-base has random weights: its figures say nothing of scores.",
    "",
]
