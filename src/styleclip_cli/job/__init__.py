"""An edit, from the request to the results: shared by the commands, the Python interface and the studio."""
