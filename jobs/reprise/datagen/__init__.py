"""Generates synthetic shopping history with a known truth: the ``datagen`` command.

``reprise.datagen.history.generate_history(HistoryOptions(out=…))`` is the same without a command line.
"""
