"""Instructions in words: text to token ids, and ids to one condition vector."""
