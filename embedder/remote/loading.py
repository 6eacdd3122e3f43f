"""Creates remote encoders from their configuration."""

from __future__ import annotations

from embedder.remote.aleph_alpha import AlephAlphaWire
from embedder.remote.config import Api, RemoteConfig
from embedder.remote.encoder import RemoteEncoder, RemoteHybridEncoder
from embedder.remote.openai import OpenAIWire
from embedder.remote.tokens import load_counter
from embedder.remote.transport import Environment, Transport
from embedder.remote.vikingdb import VikingDBWire
from embedder.remote.wire import Wire

_WIRES: dict[Api, type[AlephAlphaWire] | type[OpenAIWire] | type[VikingDBWire]] = {
    "aleph_alpha": AlephAlphaWire,
    "openai": OpenAIWire,
    "vikingdb": VikingDBWire,
}


def load_remote(config: RemoteConfig, name: str, *, environment: Environment | None = None) -> RemoteEncoder:
    """The encoder of a configuration, a RemoteHybridEncoder if it is `sparse`. Sends nothing to the remote yet.

    `name`: Salience's name of the model. `environment`: clock, sleep and random source; None: the real ones. Raises
    InvalidSettings for values that cannot be used together, ModelError for an unusable tokenizer file.
    """
    wire: Wire = _WIRES[config.api](config)
    transport = Transport(config, name, wire, environment or Environment())
    kind = RemoteHybridEncoder if config.sparse else RemoteEncoder
    return kind(config, name, wire=wire, transport=transport, counter=load_counter(config))
