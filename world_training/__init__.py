"""Makes the networks of the world's pack from nothing: `python -m world_training`."""
