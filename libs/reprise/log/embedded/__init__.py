"""A log in a folder, for the processes of one machine.

::

    <log_dir>/<topic>/topic.json                       id and number of partitions
    <log_dir>/<topic>/<partition>.log                  the records, one frame after another
    <log_dir>/<topic>/<partition>.index                where every 4,096th record is
    <log_dir>/<topic>/groups/<group>/<partition>.lock    held by the consumer that reads the partition
    <log_dir>/<topic>/groups/<group>/<partition>.offset  what the group has committed
    <log_dir>/<topic>/groups/<group>/members/<member>    held by each consumer of the group

All locks are ``flock`` and end with their process. Nothing is ever deleted; a topic is ended by removing its
folder while nobody uses it.
"""
