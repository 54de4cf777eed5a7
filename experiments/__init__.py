"""Runs of mtopt from the command line: one file an experiment, one runner."""

EXPERIMENTS = (
    "census_income",
    "flat_regions",
    "landmine",
    "multi_digits",
    "multi_fashion",
    "multi_fashion_mnist",
    "multi_mnist",
    "npz",
    "pareto_front",
    "qm8",
    "rep_mtl_cifar100",
    "rep_mtl_multi_mnist",
    "rep_mtl_reviews",
    "robust_boosting_real",
    "robust_boosting_synthetic",
    "sarcos",
    "school",
    "tox21",
    "toxcast",
    "toy",
)
