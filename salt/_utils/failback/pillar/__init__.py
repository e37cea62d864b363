"""What the site has written of its pairs: its shape, its defaults, and what is wrong with it."""
