"""Sweeps with an equal budget: ``mtopt compare``.

Every method gets the same number of trials, drawn from its own search space, is tuned
on validation data, and tested once. A unit, one trial with all its seeds, goes to a
folder of its own; joblib runs the units, in processes or on a Dask cluster.
"""
