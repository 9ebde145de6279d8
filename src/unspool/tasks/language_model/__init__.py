"""The next character, byte or word of a text."""
