"""Runs of mtopt from the command line: one file an experiment, one runner."""

EXPERIMENTS = (
    "census_income",
    "landmine",
    "multi_digits",
    "multi_fashion",
    "multi_fashion_mnist",
    "multi_mnist",
    "npz",
    "pareto_front",
    "qm8",
    "sarcos",
    "school",
    "tox21",
    "toxcast",
    "toy",
)
