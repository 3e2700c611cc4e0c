"""The nightly run: scores, demand, retention and the report, one after another."""
