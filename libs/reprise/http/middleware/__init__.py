"""Middleware around every request: limits, headers, authentication, the fast path."""
