"""What trained models are like: ``mtopt analyze --run=FOLDER``.

For every method and seed of a finished comparison it takes the parameters after the
last step and measures, on test data and with the model in evaluation form, the loss,
its sharpness and how often the tasks' gradients conflict, and of the weights the
power-law exponents. It prints a table and leaves ``analysis.json``, ``landscape.png``,
``slice.png`` and ``alphas.png`` in the folder; nothing else there is touched.
"""
