"""WHO: users, principals, identity providers, groups."""
