"""Grafana's dashboards as code; ``PYTHONPATH=charts python -m dashboards`` writes them into the chart."""
