"""One number that every change of what workers serve by bumps, so that a reader asks it whether to read on."""

from compiler.store import Store


def generation(store: Store) -> int:
    return int(store.get("generation", 0))


def bump(store: Store) -> None:
    """Inside the transaction of the change."""
    store.put("generation", generation(store) + 1)
