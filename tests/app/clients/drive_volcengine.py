"""Calls a server as users of the volcengine package do; prints what came of it as JSON."""

import asyncio
import json
import sys

from volcengine.viking_db.common import EmbModel, RawData
from volcengine.viking_db.exception import VikingDBServerException
from volcengine.viking_db.VikingDBService import VikingDBService

TEXTS = ["如何使用torchserve部署模型", "how to train a model, how to train it well"]
ALL = {"return_dense": True, "return_sparse": True, "return_token_usage": True}


def attempt(call):
    try:
        return {"data": call()}
    except VikingDBServerException as error:
        return {"error": type(error).__name__, "code": error.code, "id": error.request_id, "message": error.message}


def service(host, access_key, secret_key, region="cn-north-1"):
    return VikingDBService(host, region, access_key, secret_key)


def main(host, access_key, secret_key):
    done = {"wrong_secret": attempt(lambda: service(host, access_key, "wrong"))}
    done["wrong_access_key"] = attempt(lambda: service(host, "nobody", secret_key))
    done["no_such_host"] = attempt(lambda: service("127.0.0.1:1", access_key, secret_key))
    client = service(host, access_key, secret_key)
    many = [RawData("text", text) for text in TEXTS]
    for name in ("bge-large-zh", "bge-m3", "bge-large-zh-and-m3", "bge-visualized-m3"):
        done[name] = attempt(lambda name=name: client.embedding_v2(EmbModel(name), many))
    m3 = EmbModel("bge-m3", ALL)
    done["all"] = attempt(lambda: client.embedding_v2(m3, many))
    done["one"] = attempt(lambda: client.embedding_v2(m3, many[0]))
    done["sparse_only"] = attempt(lambda: client.embedding_v2(EmbModel("bge-m3", {"return_dense": False}), many))
    done["async"] = attempt(lambda: asyncio.run(client.async_embedding_v2(m3, many)))
    done["async_one"] = attempt(lambda: asyncio.run(client.async_embedding_v2(m3, many[1])))
    done["async_unknown"] = attempt(lambda: asyncio.run(client.async_embedding_v2(EmbModel("bge-m4"), many)))
    done["hundred"] = attempt(lambda: len(client.embedding_v2(m3, many * 50)["sentence_dense_embedding"]))
    done["unknown_model"] = attempt(lambda: client.embedding_v2(EmbModel("bge-m4"), many))
    done["no_sparse_there"] = attempt(
        lambda: client.embedding_v2(EmbModel("bge-large-zh", {"return_sparse": True}), many)
    )
    done["empty_text"] = attempt(lambda: client.embedding_v2(m3, RawData("text", "")))
    done["image"] = attempt(lambda: client.embedding_v2(EmbModel("bge-visualized-m3"), RawData("image", image="aGk=")))
    done["too_many"] = attempt(lambda: client.embedding_v2(m3, many * 51))
    done["over_the_quota"] = attempt(
        lambda: client.embedding_v2(EmbModel("bge-large-zh"), [RawData("text", "word " * 300)] * 100, retry=False)
    )
    done["other_call"] = attempt(lambda: client.get_collection("goods"))
    done["other_region"] = attempt(
        lambda: service(host, access_key, secret_key, region="cn-beijing").embedding_v2(m3, many)
    )
    json.dump(done, sys.stdout)


main(*sys.argv[1:])
