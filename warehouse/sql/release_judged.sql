-- By which limits a run was judged, and what speaks against its release.
UPDATE runs SET thresholds_sha256 = $sha256, message = $message WHERE run_id = $run_id
