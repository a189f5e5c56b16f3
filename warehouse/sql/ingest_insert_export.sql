-- An export is ingested.
INSERT INTO exports
VALUES ($export_sha256, $run_id, $file, $mapping, $received, $accepted, $rejected, $duplicate, $rated,
        $now)
