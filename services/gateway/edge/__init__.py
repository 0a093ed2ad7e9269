"""The edge: the configuration of Envoy, made from the descriptors of the contract, one values
file and the settings. `python -m services.gateway.edge` renders it and becomes Envoy.
"""
