"""Notebooks executed in batch, their pages and the site; they carry records and know no statistics."""
