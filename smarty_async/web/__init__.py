"""A page on this machine: its files, and the guard around its application."""
