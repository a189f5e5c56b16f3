-- Where DuckDB spills what does not fit in memory.
SET temp_directory = $folder
