-- Copies of the warehouse that were made, oldest first.
SELECT file, sha256, bytes, reason, taken_at FROM backups ORDER BY taken_at, file
