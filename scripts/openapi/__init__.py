"""Writes the OpenAPI document of the edge from the contract.

`python -m scripts.openapi` renews it; with `--check` it fails if it would change.
"""
