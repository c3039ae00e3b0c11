"""Exports: China's taxes on exported goods, and their routes."""
