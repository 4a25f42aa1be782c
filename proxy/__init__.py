"""ENFORCES: the data path, outside Django's middleware."""
