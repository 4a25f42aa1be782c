"""PURE: JSON, JSON-RPC, MCP, server-sent events and headers. No Django, no I/O, no clock."""
