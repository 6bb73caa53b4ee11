"""One edit, from what is asked to what is written: the same for the commands, for Python and for the page."""
