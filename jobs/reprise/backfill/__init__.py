"""Fills the online store from history."""
