"""Strings in, arrays out: the backbone, its adapters, and agreement statistics."""
