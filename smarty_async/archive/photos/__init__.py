"""Looking into one photo and reading it."""
