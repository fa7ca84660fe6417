"""The configuration: read once, frozen, passed in. Unknown keys are refused; every key is in docs/configuration.md."""

from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from compiler.endpoint import Endpoint, Endpoints
from compiler.families import Family
from compiler.models import Models, Options
from compiler.task import NAME, NAME_FORM, Kind, Mode, Trust

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    number = value.rstrip("smhd")
    try:
        return float(number) * UNITS[value[len(number) :] or "s"]
    except (ValueError, KeyError):
        raise ValueError("no duration; write 500ms, 60s, 10m, 2h or 7d") from None


Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]
Usd = Annotated[float, Field(ge=0)]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it. A name other than `localhost` is not asked for: it may change its mind."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)  # an input may be a secret


class Listen(Section):
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535)
    workers: int = Field(1, ge=1, le=64)

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)


class Upstream(Section):
    base_url: str
    api_key: str | None = Field(None, repr=False)

    @field_validator("base_url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("no address; write for instance https://api.openai.com/v1")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("a host and a path only: a key belongs in `api_key`, where it is never shown")
        return value.rstrip("/")


class ModelNames(Section):
    meta: str = "gpt-5.4"
    judge: str = "gpt-5.2"
    production: tuple[str, ...] = Field(("gpt-4.1-nano", "gpt-4.1-mini"), min_length=1)


class Margin(Section):
    default: float = Field(0.02, gt=0, le=0.33)  # nothing is served over three times it, which has to be under 1
    text: float = Field(0.05, gt=0, le=0.33)

    def of(self, kind: str) -> float:
        return self.text if kind == "text" else self.default


class Background(Section):
    usd_per_day: Usd = 5.0
    max_share_of_saving: float = Field(0.15, ge=0, le=1)
    flex: tuple[str, ...] = ()


class CompileSettings(Section):
    min_examples: int = Field(40, ge=5)
    max_usd: Usd = 2.0
    max_minutes: float = Field(10, gt=0)
    calls: int = Field(200, ge=20)
    meta_calls: int = Field(8, ge=1)
    concurrency: int = Field(8, ge=1, le=64)
    retry_kept_after: Seconds = 7 * 86_400.0


class Output(Section):
    kind: Kind
    labels: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> "Output":
        if (self.kind == "label") != bool(self.labels):
            raise ValueError("`labels` lists the answers of kind label, and only of that kind")
        if self.keys and self.kind != "json":
            raise ValueError("`keys` belongs to kind json")
        return self


class TaskSettings(Section):
    description: str = Field(min_length=1)
    system: str | None = None
    incumbent: str | None = None
    examples: str | None = None
    trust: Trust = "proven"
    mode: Mode | None = None
    tenant: str | None = None
    output: Output | None = None


class StoreSettings(Section):
    url: str = "file:.cuecard"
    retention_days: int = Field(14, ge=1)

    @field_validator("url")
    @classmethod
    def _is_file(cls, value: str) -> str:
        if not value.startswith("file:") or not value.removeprefix("file:"):
            raise ValueError("write file:FOLDER, for instance file:/var/lib/cuecard")
        return value

    @property
    def folder(self) -> Path:
        return Path(self.url.removeprefix("file:")).expanduser()


class Capture(Section):
    enabled: bool = True
    per_second: float = Field(10.0, gt=0)
    redact: bool = True


class Key(Section):
    key: str = Field(min_length=8, repr=False)
    tenant: str = Field("default", min_length=1)


class Auth(Section):
    keys: tuple[Key, ...] = ()
    admin_token: str | None = Field(None, min_length=8, repr=False)


class Price(Section):
    """USD per million tokens."""

    input: Usd
    cached_input: Usd | None = None
    cache_write: Usd | None = None
    output: Usd


class Capabilities(Section):
    reasoning: bool = False
    json_schema: bool = True
    openai: bool = False


class Timeouts(Section):
    connect: Seconds = 10.0
    upstream: Seconds = 600.0
    candidate: Seconds = 2.0
    first_call_wait: Seconds = 60.0
    client: Seconds = 60.0


class Log(Section):
    format: Literal["json", "text"] = "text"
    requests: bool = True


class Settings(Section):
    listen: Listen = Listen()
    upstreams: dict[str, Upstream] = Field(min_length=1)
    models: ModelNames = ModelNames()
    capabilities: dict[str, Capabilities] = {}
    mode: Mode = "observe"
    margin: Margin = Margin()
    control: float = Field(0.02, ge=0, lt=1)
    background: Background = Background()
    compile: CompileSettings = CompileSettings()
    tasks: dict[str, TaskSettings] = {}
    store: StoreSettings = StoreSettings()
    capture: Capture = Capture()
    auth: Auth = Auth()
    prices: dict[str, Price] = {}
    timeouts: Timeouts = Timeouts()
    log: Log = Log()

    @field_validator("tasks")
    @classmethod
    def _are_names(cls, tasks: dict[str, TaskSettings]) -> dict[str, TaskSettings]:
        for name in tasks:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no task name: {NAME_FORM}")
        return tasks

    def secrets(self) -> set[str]:
        """Every key that this configuration holds."""
        upstreams = {upstream.api_key for upstream in self.upstreams.values()} - {None, "none"}
        held = {*upstreams, *(known.key for known in self.auth.keys), self.auth.admin_token}
        return {key for key in held if key}

    def endpoints(self) -> Endpoints:
        return Endpoints(
            {
                name: Endpoint(
                    name,
                    upstream.base_url,
                    api_key=None if upstream.api_key in (None, "none") else upstream.api_key,
                    keyless=upstream.api_key == "none",
                )
                for name, upstream in self.upstreams.items()
            }
        )

    def families(self) -> dict[str, Family]:
        return {model: Family(**known.model_dump()) for model, known in self.capabilities.items()}

    def own_prices(self) -> dict[str, dict[str, float]]:
        return {model: price.model_dump(exclude_none=True) for model, price in self.prices.items()}

    def background_models(self) -> Models:
        return Models(
            self.models.meta,
            self.models.production,
            self.endpoints(),
            judge=self.models.judge,
            prices=self.own_prices(),
            families=self.families(),
            flex=frozenset(self.background.flex),
        )

    def compile_options(self) -> Options:
        chosen = self.compile
        return Options(
            chosen.min_examples,
            chosen.max_usd,
            chosen.max_minutes,
            chosen.concurrency,
            chosen.meta_calls,
            chosen.calls,
            margin=self.margin.default,
            margin_text=self.margin.text,
        )
