"""Everything on one machine: what `python3 run.py up` runs, and the commands that speak to it."""
