"""Language models: they predict the next character, byte or word of a text."""
