-- No statement here relies on the order rows were inserted in, and keeping it costs memory.
SET preserve_insertion_order = false
