"""Read models over the journal."""
