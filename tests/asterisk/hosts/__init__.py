"""Several hosts: gateways and Asterisks in network namespaces, and faults of each and of the network."""
