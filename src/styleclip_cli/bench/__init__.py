"""How long things take here."""
