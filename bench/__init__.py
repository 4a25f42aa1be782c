"""Measures the gateway beside what it is compared with; `bench/run.py` is the one command."""
