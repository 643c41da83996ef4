"""The workloads in Python. `load(folder)` of each module returns a function from payload to results."""
