"""Virtual machines on storage that both nodes share: what is true of them, and what is done to them."""
