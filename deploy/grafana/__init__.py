"""Grafana's boards as code: `python -m deploy.grafana` writes them, `python -m deploy.grafana.picture` draws them from a Prometheus."""
