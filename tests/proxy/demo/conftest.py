from pathlib import Path

import pytest

from proxy.demo.rows import TASKS

SPLITS = {"train": 6, "test": 4, "dev": 1}


def fill(cache: Path) -> Path:
    """A cache whose rows say their own label, so that a fake model can answer them."""
    folder = cache / "rows"
    folder.mkdir(parents=True)
    for split, each in SPLITS.items():
        lines = [
            f"{split} {i}: {label}\t{label}\n" for i in range(each) for labels in TASKS.values() for label in labels
        ]
        (folder / f"clinc150-{split}.tsv").write_text("text\tlabel\n" + "".join(lines))
    return cache


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return fill(tmp_path / "cache")
