-- The seasons of the responses that an export brings, each with its first and last piece.
SELECT season, min(piece) AS first_piece, max(piece) AS last_piece
FROM pieces
GROUP BY season
ORDER BY season
