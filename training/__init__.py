"""How each of the project's own weights was made: one package a network, one command each."""
