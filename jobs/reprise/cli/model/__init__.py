"""The ``model`` command: keys and signatures of model bundles."""
