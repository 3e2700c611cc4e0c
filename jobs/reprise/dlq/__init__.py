"""Inspection, correction and replay of dead letters."""
