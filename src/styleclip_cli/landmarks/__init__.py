"""Where faces are in a photo, and their 68 points."""
