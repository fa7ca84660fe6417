"""A day of a team's traffic in some minutes: what is proven, what it saves, and what the proving cost: `make day`."""
