"""WHAT HAPPENED: sessions and their events."""
