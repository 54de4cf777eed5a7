"""Rows of numbers with several targets: your own arrays, synthetic scenarios."""
