"""Comparisons of methods on one data set: a file each, with ``get_config`` alone."""
