"""The checks: what each asks an installation, and the remedy where it fails."""
