"""Whether the manifests of k8s/ say what is true: of the services, and of each other.

Each check takes the rendered manifests and returns what is wrong, a line each.
"""
