-- Add a sentence to what a run has to say, once; its status and counts stay.
UPDATE runs
SET message = concat_ws(' | ', nullif(message, ''), $note)
WHERE run_id = $run_id AND NOT contains(message, $note)
