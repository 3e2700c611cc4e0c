"""The plan in Feast: registry objects, offline files, the on-demand feature view."""
