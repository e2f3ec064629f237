"""The round worker: Flower over our own Grid, in a process of its own. The only place in the cloud that imports flwr."""
