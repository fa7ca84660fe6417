"""The demo's tasks: eight CLINC150 intents each, a few labelled examples, and test rows nobody tunes on."""

from pathlib import Path

from proxy.demo.fetch import Split, fetch_rows

__all__ = ["EXAMPLES_A_LABEL", "TASKS", "TEST_ROWS", "Row", "instruction", "measured_rows", "rows_of"]

Row = tuple[str, str]
"""(text, label)"""

TASKS: dict[str, tuple[str, ...]] = {  # chosen before any test row was answered
    "travel": (
        *("book_flight", "book_hotel", "car_rental", "flight_status"),
        *("lost_luggage", "international_visa", "travel_suggestion", "carry_on"),
    ),
    "home": ("alarm", "weather", "play_music", "shopping_list", "recipe", "traffic", "make_call", "translate"),
}
EXAMPLES_A_LABEL = 6
TEST_ROWS = 32


def instruction(task: str) -> str:
    return f"Classify the user's message. Answer with exactly one of these labels: {', '.join(TASKS[task])}."


def rows_of(task: str, split: Split, each: int, cache: Path) -> list[Row]:
    """The first `each` rows of every label, label by label in turn."""
    rows = fetch_rows("clinc150", split, cache)
    by_label = [[row for row in rows if row[1] == label][:each] for label in TASKS[task]]
    return [row for turn in zip(*by_label, strict=True) for row in turn]


def measured_rows(task: str, cache: Path) -> list[Row]:
    return rows_of(task, "test", TEST_ROWS // len(TASKS[task]), cache)
