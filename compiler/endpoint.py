"""Which upstream a model name means, and what may be sent there. Shared by the proxy and the background."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class Endpoint:
    """`api_key` None: the client's own key is forwarded and no background call is ever made here.

    `keyless`: the server wants no key (a local model); background calls are allowed and none is sent.
    """

    name: str
    base_url: str  # with the /v1, without a slash at the end
    api_key: str | None = field(default=None, repr=False)
    keyless: bool = False

    @property
    def ours(self) -> bool:
        """Whether calls may be made here on the configured account, without a client's key."""
        return self.keyless or self.api_key is not None


@dataclass(frozen=True)
class Endpoints:
    by_name: Mapping[str, Endpoint]

    @cached_property
    def first(self) -> Endpoint:
        return next(iter(self.by_name.values()))

    def resolve(self, model: str) -> tuple[Endpoint, str]:
        """`name/model` → that upstream and `model`, if one of that name exists; else the first and the whole name."""
        prefix, slash, rest = model.partition("/")
        if slash and rest and prefix in self.by_name:
            return self.by_name[prefix], rest
        return self.first, model
