"""The outputs of a run, where they are kept, and what is written into them."""
