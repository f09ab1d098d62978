"""Projects of their own, each of which installs the built wheel and has tests of its own."""
