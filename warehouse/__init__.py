"""DuckDB and Parquet: where responses, scores and runs are kept."""
