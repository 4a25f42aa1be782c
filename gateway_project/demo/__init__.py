"""What `python3 run.py up` shows the product with: an identity provider, an MCP server, and the rows that join them.

For one person's machine only: both servers listen on the loopback interface, and their passwords are made at the first
start and kept in `.wardgate/`.
"""
