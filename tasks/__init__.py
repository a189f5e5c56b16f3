"""The nouns: Prefect tasks, each a unit of retry."""
