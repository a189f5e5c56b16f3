-- A season's retirement has ended.
UPDATE retirements SET finished_at = $now WHERE season = $season AND finished_at IS NULL
