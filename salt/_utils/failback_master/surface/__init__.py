"""What an operator sees: lines while a command works, and what is printed of its answer."""
