"""The networks, as state dicts describe them."""
