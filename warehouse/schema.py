"""Arrow schemas: the contract between the packages about what lies in which Parquet file."""

import pyarrow as pa

# responses/season=<season>/<first 12 of export_sha256>.parquet, sorted by item_id, response_id.
RESPONSES = pa.schema(
    [
        pa.field("response_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("season", pa.string(), nullable=False),
        pa.field("student_pseudo", pa.string()),
        pa.field("submitted_at", pa.timestamp("us", tz="UTC")),
        pa.field("text", pa.string(), nullable=False),
        pa.field("text_sha256", pa.string(), nullable=False),
    ]
)

# parts/<shard>.parquet: what one shard of scoring yields, one row per response and trait.
PARTS = pa.schema(
    [
        pa.field("response_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("trait", pa.string(), nullable=False),
        pa.field("raw_score", pa.float64(), nullable=False),
        pa.field("score", pa.int32(), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
        pa.field("probabilities", pa.list_(pa.float32()), nullable=False),
        pa.field("by_student", pa.bool_(), nullable=False),  # a distilled student gave the score
        pa.field("truncated", pa.bool_(), nullable=False),
        pa.field("trimmed_score", pa.float64(), nullable=False),
        pa.field("scaled_score", pa.float64()),  # null where the adapter has no scaling
        pa.field("reported", pa.string(), nullable=False),  # rounded or scaled: what `score` is
        pa.field("tokens", pa.int32(), nullable=False),
        pa.field("unknown_tokens", pa.int32(), nullable=False),
        pa.field("language", pa.string()),  # ISO code; null where it cannot be told
        pa.field("adapter_version", pa.int32(), nullable=False),
        pa.field("adapter_sha256", pa.string(), nullable=False),
        pa.field("backbone_sha256", pa.string(), nullable=False),
        pa.field("engine", pa.string(), nullable=False),
        pa.field("latency_ms", pa.float64(), nullable=False),
    ]
)
