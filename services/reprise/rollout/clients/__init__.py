"""Clients of what the operator talks to: the Kubernetes API, predictors and Prometheus."""
