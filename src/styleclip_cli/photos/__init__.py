"""Photos in and out: read, find the square of a face, cut it, put an edit back."""
