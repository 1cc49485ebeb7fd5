"""tracker.cli: the command `tracker`. Words in, words out: parse, call one function, render; it decides nothing."""
