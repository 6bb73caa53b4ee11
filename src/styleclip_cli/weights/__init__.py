"""Weight files and model packs."""
