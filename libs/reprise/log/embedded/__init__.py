"""An event log in a folder, shared by the processes of one machine.

::

    <log_dir>/<topic>/topic.sqlite  records, and the committed offsets of consumer groups
    <log_dir>/<topic>/<group>.lock  held with ``flock`` by the consumer that has the group's partitions

A kernel releases a ``flock`` with its process, so a killed consumer's partitions are free at once. Records are never
deleted. A topic is deleted by removing its folder while no process uses it.
"""
