"""Whether a pack does on this machine what its makers expect of it."""
