"""The log in Kafka, behind the same interface as the embedded one."""
