"""Programs that train, compare, analyse and time: what stands behind ``mtopt``.

``main`` runs an experiment: a configuration of the comparison of methods
(``configurations``), or a project with a folder of its own. ``common`` is what they
share, ``benchmarks`` time and tabulate the library, and ``console`` is the command
``mtopt``. No project imports another one.
"""
