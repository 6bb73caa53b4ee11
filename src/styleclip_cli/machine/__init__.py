"""The machine and what is kept on it: devices, memory, files, caches, processes."""
