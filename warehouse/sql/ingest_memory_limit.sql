-- How much memory DuckDB may take while it holds this connection's database open.
SET memory_limit = $limit
