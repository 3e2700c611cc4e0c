"""Feast's Redis layout: keys, hash fields and protobuf values of state rows."""
