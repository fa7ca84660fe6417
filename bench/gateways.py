"""The peers: other gateways, where `make peers` installed them. Each with one worker, no database, no log on disk."""

import shutil
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import NamedTuple

from bench.servers import Ask, Recipe, Site

FILES = Path(__file__).parent / "peers"
INSTALLED = Path(__file__).parents[1] / ".peers"
LITELLM = INSTALLED / "litellm/bin/litellm"
TENSORZERO = INSTALLED / "tensorzero/bin/python"
PORTKEY = INSTALLED / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"


class Peer(NamedTuple):
    recipe: Recipe
    is_installed: Callable[[], bool]


def written(site: Site, name: str) -> str:
    """The path of a copy of one of `peers/` with this site's ports in it."""
    text = Template((FILES / name).read_text())
    file = site.folder / name
    file.write_text(text.substitute(folder=site.folder, port=site.port, upstream=site.upstream, workers=site.workers))
    return str(file)


NGINX = Recipe(
    "nginx",
    "proxy_pass with kept connections and proxy_buffering off",
    lambda site: ["nginx", "-p", str(site.folder), "-c", written(site, "nginx.conf"), "-e", "stderr"],
    lambda site: (Ask("nginx"),),
)
TENSORZERO_GATEWAY = Recipe(
    "tensorzero",
    "the gateway inside its Python wheel, observability off",
    lambda site: [str(TENSORZERO), str(FILES / "run_tensorzero.py"), written(site, "tensorzero.toml")],
    lambda site: (Ask("tensorzero", path="/openai/v1/chat/completions", model="tensorzero::model_name::{}"),),
    says_port=True,
)
PORTKEY_GATEWAY = Recipe(
    "portkey",
    "node build/start-server.js --headless; provider and upstream named in headers",
    lambda site: ["node", str(PORTKEY), f"--port={site.port}", "--headless"],
    lambda site: (
        Ask(
            "portkey",
            headers={"x-portkey-provider": "openai", "x-portkey-custom-host": f"{site.upstream_url}/v1"},
        ),
    ),
    env={"NODE_ENV": "production"},
)
LITELLM_PROXY = Recipe(
    "litellm",
    "litellm --num_workers 1, on uvicorn with uvloop; errors logged only",
    lambda site: [
        *(str(LITELLM), "--config", written(site, "litellm.yaml"), "--host", "127.0.0.1"),
        *("--port", str(site.port), "--num_workers", "1"),
    ],
    lambda site: (Ask("litellm"),),
    env={"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"},  # or it asks the internet for prices
)
PEERS = (
    Peer(NGINX, lambda: shutil.which("nginx") is not None),
    Peer(TENSORZERO_GATEWAY, TENSORZERO.exists),
    Peer(PORTKEY_GATEWAY, lambda: PORTKEY.exists() and shutil.which("node") is not None),
    Peer(LITELLM_PROXY, LITELLM.exists),
)
