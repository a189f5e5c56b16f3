-- Every level of every attribute, in the order that ratings_groups counts them.
SELECT DISTINCT attribute, level FROM subgroups ORDER BY attribute, level
