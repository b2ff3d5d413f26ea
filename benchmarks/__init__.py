"""How fast, how big and how right: figures that commands print."""
