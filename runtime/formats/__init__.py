"""Files and network objects to and from the nouns, one file per format."""
