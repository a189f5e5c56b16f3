-- Exports that brought responses of a season, and whether every response they brought is retired.
SELECT r.export_sha256, any_value(e.file) AS file, bool_and(r.retired_at IS NOT NULL) AS whole
FROM responses r
JOIN exports e ON e.export_sha256 = r.export_sha256
WHERE r.export_sha256 IN (SELECT export_sha256 FROM responses WHERE season = $season)
GROUP BY r.export_sha256
ORDER BY file, r.export_sha256
