"""Connections to Redis: one server or a cluster, blocking or asyncio."""
