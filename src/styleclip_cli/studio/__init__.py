"""The studio: a local page on which faces are edited while one looks. `styleclip studio` opens it."""
