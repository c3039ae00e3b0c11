"""Grafana's boards as code; `python -m deploy.grafana` writes them."""
