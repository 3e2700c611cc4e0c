"""The reprise command for people at a terminal, and the demo."""
