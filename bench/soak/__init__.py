"""Many requests, of every kind, with faults and kills, and three sets of books to compare at the end: `make soak`."""
