"""The observations where the configuration wants them."""

from compiler.observation import Observations
from proxy.settings import Settings


def open_observations(settings: Settings) -> Observations:
    """Raises StoreError."""
    return Observations(settings.store.folder, retention_days=settings.store.retention_days)
