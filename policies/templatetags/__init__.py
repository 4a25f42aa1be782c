"""Template filters of the pages of policy."""
