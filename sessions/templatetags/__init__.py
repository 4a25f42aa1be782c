"""Template filters of the record's pages."""
