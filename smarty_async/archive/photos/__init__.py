"""What the photos are: their formats, their extent and their pixels."""
