"""Pages of the console outside the admin: logging in, proving it again, and one's own account."""
