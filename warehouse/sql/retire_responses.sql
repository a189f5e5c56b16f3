-- A season's responses belong to nobody any more; their scores stay.
UPDATE responses
SET student_pseudo = NULL, retired_at = coalesce(retired_at, $now)
WHERE season = $season AND (student_pseudo IS NOT NULL OR retired_at IS NULL)
