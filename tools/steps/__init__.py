"""The steps of tools/setup, one module each. They use the Python standard library alone."""
