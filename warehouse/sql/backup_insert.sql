-- A copy of the warehouse was made.
INSERT INTO backups VALUES ($file, $sha256, $bytes, $reason, $now)
