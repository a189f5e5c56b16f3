-- The rows of the export, without their texts.
CREATE OR REPLACE TEMP TABLE staged AS
SELECT row, fault, found, response_id, item_id, trait, season, student_pseudo, submitted_at,
       text_sha256, characters
FROM read_parquet($rows)
