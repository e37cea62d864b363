"""Files come back to a returned node by rsync, with a backup of all they replace, and a way to undo it."""
