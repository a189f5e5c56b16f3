-- Each thread of DuckDB holds buffers of its own, so many cores would not fit the memory limit.
SET threads = $threads
