-- A run ends: its status, counts and cost.
UPDATE runs
SET status = $status,
    finished_at = $finished_at,
    received = $received,
    accepted = $accepted,
    waiting = $waiting,
    scored = $scored,
    reused = $reused,
    coded = $coded,
    routed = $routed,
    failed = $failed,
    rejected = $rejected,
    duplicate = $duplicate,
    rated = $rated,
    files_accepted = $files_accepted,
    files_refused = $files_refused,
    files_unchanged = $files_unchanged,
    adapters_loaded = $adapters_loaded,
    peak_rss_mb = $peak_rss_mb,
    responses_per_s = $responses_per_s,
    held_reasons = $held_reasons,
    message = $message
WHERE run_id = $run_id
