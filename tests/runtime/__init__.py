"""The runtime: provisioning, lock and ports, supervision."""
