"""What `make bench` measures: ratios taken in one run, written to ``docs/benchmarks.md``."""
