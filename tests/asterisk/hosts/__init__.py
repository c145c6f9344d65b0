"""Several hosts on one machine: network namespaces with gateways and Asterisks, and faults of each and of the network."""
