"""The parts of the pipeline bench: a device without a region, cameras, costs."""
