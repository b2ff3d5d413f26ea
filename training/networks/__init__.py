"""The networks, in parts that are exported separately."""
