"""Spans of requests, by OpenTelemetry where traces are on."""
