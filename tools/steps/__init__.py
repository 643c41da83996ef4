"""The steps of tools/setup, one module each. They use only the Python standard library."""
