"""What is known between runs."""
