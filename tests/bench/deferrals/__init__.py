"""The parts of the deferral bench: models and their answers, rivals, curves, guarantee, dedupe, picture."""
