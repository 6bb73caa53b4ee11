"""Scripts that make the toy pack from nothing."""
