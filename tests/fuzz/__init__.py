"""Calls the edge as its OpenAPI document says and as it says not, and looks for what differs.

`python -m tests.fuzz` is the long run, on a suite of its own.
"""
