"""What other people's libraries do with the same task; each library is imported where it is opened."""
