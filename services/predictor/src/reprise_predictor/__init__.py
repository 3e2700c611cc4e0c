"""Answers predictions over HTTP."""
