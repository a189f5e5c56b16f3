-- A season's retirement begins.
INSERT INTO retirements VALUES ($season, $retired_by, $reason, $now, NULL, $responses)
