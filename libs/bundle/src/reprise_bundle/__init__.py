"""Model bundles: format, content-addressed store, verification."""
