"""Measurements: pytest-benchmark suites (`pytest bench`), their report, and what the pages in docs/ are made from."""
