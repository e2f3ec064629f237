"""Architectures, losses and the training loop: the only torch in shared, for region training and cloud foundry."""
