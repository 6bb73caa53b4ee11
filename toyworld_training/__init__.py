"""Scripts that make the toy pack from nothing; `captions` is what they teach its CLIP to read."""
