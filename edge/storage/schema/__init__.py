"""Numbered SQL files: file NN takes the database from schema version NN - 1 to NN."""
