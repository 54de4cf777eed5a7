"""Trained models: predictions in units of the data, files of parameters, exports.

:func:`mtopt.load` reads one from the folder of a run.
"""
