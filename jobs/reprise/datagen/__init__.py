"""Makes synthetic shopping history with a known truth: the ``datagen`` command.

``reprise.datagen.history.generate(GenerationPlan(out=…))`` is the same without a command line.
"""
