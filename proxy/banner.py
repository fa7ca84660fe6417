"""What a person should know before traffic flows: the banner, the effective settings, and warnings."""

from typing import Any

import yaml

from compiler.observation import FOLDER
from compiler.pricing import PriceBook
from proxy.settings import Settings
from proxy.share import in_percent

MASKED = frozenset(("api_key", "key", "admin_token"))


def banner(settings: Settings, port: int) -> str:
    endpoints = settings.endpoints()
    payers = ", ".join(
        f"{e.name} ({'no key needed' if e.keyless else 'our key' if e.api_key else 'each client its own key'})"
        for e in endpoints.by_name.values()
    )
    host = f"[{settings.listen.host}]" if ":" in settings.listen.host else settings.listen.host
    return "\n".join(
        (
            f"Cuecard listens on http://{host}:{port}/v1   (mode {settings.mode}, {settings.listen.workers} workers)",
            f"  upstreams and who pays   {payers}",
            f"  stored in                {settings.store.folder}: tasks, examples, cards, sums of cost",
            f"  captured                 {_captured(settings)}",
            f"  background spending      at most ${settings.background.usd_per_day:.2f} a day, "
            f"${settings.compile.max_usd:.2f} a compile",
            f"  what may happen          {_by_mode(settings)}",
            "  switch off               cuecard off",
        )
    )


def _by_mode(settings: Settings) -> str:
    default, text = in_percent(settings.margin.default), in_percent(settings.margin.text)
    margin = f"at most {default} worse ({text} for free text), 95 % sure"
    return {
        "observe": "nothing is changed: tasks are recognised, and what they could save is reckoned",
        "manual": f"tasks that are worth it are compiled and proven; what you approve is served while {margin}",
        "auto": f"tasks that are worth it are compiled, proven, and served while {margin}",
    }[settings.mode]


def _captured(settings: Settings) -> str:
    if not settings.capture.enabled:
        return "no requests"
    how = "redacted" if settings.capture.redact else "NOT REDACTED"
    where = settings.store.folder / FOLDER
    return f"samples of requests and answers, {how}, for {settings.store.retention_days} days in {where}"


def effective(settings: Settings) -> str:
    return yaml.safe_dump(_masked(settings.model_dump(mode="json")), sort_keys=False, allow_unicode=True).rstrip()


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: "***" if k in MASKED and v not in (None, "none") else _masked(v) for k, v in value.items()}
    return [_masked(item) for item in value] if isinstance(value, list) else value


def warnings(settings: Settings) -> list[str]:
    found = []
    names, endpoints, prices = settings.models, settings.endpoints(), PriceBook(settings.own_prices())
    for role, model in (("meta", names.meta), *(("production", model) for model in names.production)):
        endpoint, bare = endpoints.resolve(model)
        if not endpoint.ours:
            found.append(
                f"models.{role}: upstream {endpoint.name!r} has no api_key of its own, nothing will be compiled"
            )
        if prices.rates(model, bare) is None:
            found.append(f"models.{role}: {model} has no known price, nothing will be compiled with it; see `prices`")
    if names.judge in (names.meta, *names.production):
        found.append(f"models.judge: {names.judge} must not be one of the models it judges")
    if settings.capture.enabled and not settings.capture.redact:
        found.append("capture.redact false: requests and answers are stored as they came; for your own data only")
    return found
