"""An event log in a folder, shared by the processes of one machine.

::

    <log_dir>/<topic>/topic.sqlite          records, consumer groups and their committed offsets
    <log_dir>/<topic>/member-<number>.lock  held with ``flock`` by a live consumer

A kernel releases a ``flock`` with its process, so a killed consumer's partitions are free at once. Records are never
deleted. A topic is deleted by removing its folder while no process uses it.
"""
