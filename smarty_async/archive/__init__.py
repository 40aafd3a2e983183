"""The user's disk: where photos come from, where outputs go, what is remembered."""
