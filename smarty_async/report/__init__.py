"""For people: what is going on, and what became of every photo."""
