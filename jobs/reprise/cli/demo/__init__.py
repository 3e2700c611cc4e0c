"""The demo: the whole platform as one process tree on one machine.

Its functions raise ``DemoError`` where a step fails or takes too long, ``EventLogError`` where the log cannot be used,
and ``httpx.HTTPStatusError`` where a service refuses a request.
"""
