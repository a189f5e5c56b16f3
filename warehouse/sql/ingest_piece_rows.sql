-- The piece that each accepted row belongs to.
SELECT row, piece FROM pieces
