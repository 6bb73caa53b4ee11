"""Readers of other projects' checkpoints: foreign file to our tensors, without running anything in it."""
