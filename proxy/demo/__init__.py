"""The demonstration: real weights and real text, on this machine, without an account."""
