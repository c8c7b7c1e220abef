"""Images: reading and writing them, and the runners that make them."""
