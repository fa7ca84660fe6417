"""From observations to tasks, while they come in: read what is new, mine, publish. Blocking: for a thread."""

import logging
import time

from compiler.observation import Observation, Observations
from compiler.recognition.catalogue import Catalogue
from compiler.recognition.mine import Miner, sample_of
from compiler.registry import Registry
from compiler.store import Store

log = logging.getLogger("cuecard.discovery")

REST = 10.0  # times as long as mining took is waited before the next
PAUSE = 1.0  # seconds at least
BATCH = 2_000  # observations read before looking at the clock again


class Discovery:
    def __init__(self, store: Store, observations: Observations) -> None:
        self._observations = observations
        self._registry = Registry(store)
        self._catalogue = Catalogue(store)
        self._known = 0
        self._begin()

    def _begin(self) -> None:
        """From the templates that were published, and whatever is still kept of the requests."""
        self._epoch = self._observations.epoch()
        self._learned, templates = self._catalogue.learned()
        self._miner = Miner(templates)
        self._position = 0
        self._new = 0
        self._due = 0.0

    def step(self) -> None:
        """Raises StoreError; what was not published then is mined again."""
        if (self._epoch, self._learned) != (self._observations.epoch(), self._catalogue.epoch()):
            self._begin()
        for position, observation in self._observations.since(self._position):
            self._position = position
            self._take(observation)
            if self._new >= BATCH:
                break
        if self._new and time.monotonic() >= self._due:
            self._mine()

    def _take(self, observation: Observation) -> None:
        if (sample := sample_of(observation.tenant, observation.structure, observation.request)) is not None:
            self._miner.add(sample)
            self._new += 1

    def _mine(self) -> None:
        started = time.monotonic()
        changed = self._miner.mine()
        self._due = time.monotonic() + max(PAUSE, REST * (time.monotonic() - started))
        self._new = 0
        if changed:
            found = {structure: self._miner.of(structure) for structure in changed}
            if not self._catalogue.publish(found, reserved=self._registry.tasks(), epoch=self._learned):
                return  # begun anew at the next step
            if (known := len(self._catalogue.tasks())) != self._known:
                log.info("%d tasks are known from the traffic", known)
            self._known = known
