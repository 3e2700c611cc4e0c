"""An event log in a folder, shared by the processes of one machine.

::

    <log_dir>/<topic>/topic.json                         topic id and number of partitions
    <log_dir>/<topic>/<partition>.log                    records, see ``record_format``
    <log_dir>/<topic>/<partition>.index                  byte position of every 4,096th record
    <log_dir>/<topic>/groups/<group>/<partition>.lock    held by the partition's consumer
    <log_dir>/<topic>/groups/<group>/<partition>.offset  the group's committed offset
    <log_dir>/<topic>/groups/<group>/members/<member>    held by each consumer of the group

All locks are ``flock`` and end with their process. Records are never deleted. A topic is deleted by removing its
folder while no process uses it.
"""
