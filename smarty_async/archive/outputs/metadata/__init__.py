"""The metadata of a photo, carried into its outputs without decoding them."""
