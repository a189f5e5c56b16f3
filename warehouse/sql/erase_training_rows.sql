-- That adapters have seen an erased student's responses goes; the adapters are told of before.
DELETE FROM training_rows WHERE response_id IN (SELECT response_id FROM gone)
