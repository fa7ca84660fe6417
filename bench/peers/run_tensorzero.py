"""TensorZero's gateway, which its wheel carries for its OpenAI client. Run by .peers/tensorzero's own Python."""

import sys
from threading import Event

from tensorzero.tensorzero import _start_http_gateway

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
print(f"listens on {gateway.base_url}", flush=True)
Event().wait()
