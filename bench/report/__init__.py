"""`python -m bench.report`: tables and pictures from results of the benchmarks, and what became slower."""
