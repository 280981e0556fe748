"""Tables, pictures and records as people and notebooks see them; nothing is computed here."""
