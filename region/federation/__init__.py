"""The region's part in federated rounds: a worker process that dials the cloud. The only place in a region that imports flwr."""
