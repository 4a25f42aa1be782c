"""WHERE TO: upstream MCP servers and their credentials."""
