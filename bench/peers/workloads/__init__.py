"""The benchmark's workloads in Python: each module has `load(folder)`, from a workload's folder to a function from payload to results."""
