"""Attempts to break the program: a fault server, lives cut short, and what must be true in the end."""
