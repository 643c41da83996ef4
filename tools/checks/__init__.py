"""The checks of `tools/walls`, `tools/prose` and `tools/lint-lines`, one module each. They use only standard Python."""
