"""Calls a server as users of the openai package do; prints what came of it as JSON."""

import asyncio
import base64
import json
import sys

import openai

TEXTS = ["A console plays games.", "A radio plays music.", "A console plays games."]
LONG = "word " * 2000


def main(address, token):
    client = openai.OpenAI(base_url=f"{address}/v1", api_key=token, max_retries=0)
    root = openai.OpenAI(base_url=address, api_key=token, max_retries=0)
    stranger = openai.OpenAI(base_url=f"{address}/v1", api_key="wrong", max_retries=0)

    def attempt(call):
        try:
            return call()
        except openai.APIStatusError as error:
            return {
                "error": type(error).__name__, "status": error.status_code, "code": error.code, "param": error.param,
                "type": error.type, "message": error.message, "id": error.request_id,
            }  # fmt: skip

    def embed(input, caller=client, model="default", **options):
        return attempt(lambda: caller.embeddings.create(input=input, model=model, **options).model_dump())

    done = {
        "one": embed(TEXTS[0]),
        "many": embed(TEXTS),
        "at_the_root": embed(TEXTS[0], caller=root),
        "floats": embed(TEXTS[0], encoding_format="float"),
        "base64": embed(TEXTS[0], encoding_format="base64"),
        "user": embed(TEXTS[0], user="somebody"),
        "ids": embed([2023, 2003]),
        "lists_of_ids": embed([[2023, 2003], [2003]]),
        "alias": embed(TEXTS[0], model="text-embedding-3-small"),
        "query": embed(TEXTS[0], extra_body={"representation": "query"}),
        "long": embed([TEXTS[0], LONG]),
        "own_dimension": embed(TEXTS[0], dimensions=384),
        "shorter": embed(TEXTS[0], dimensions=128),
        "most": len(attempt(lambda: client.embeddings.create(input=["a"] * 2048, model="default").data)),
        "too_many": embed(["a"] * 2049),
        "no_such_size": embed(TEXTS[0], dimensions=100),
        "no_such_model": embed(TEXTS[0], model="text-embedding-4"),
        "empty_text": embed(["a", ""]),
        "nothing": embed([]),
        "no_such_id": embed([10**6]),
        "wrong_key": embed(TEXTS[0], caller=stranger),
        "models": [model.id for model in client.models.list()],
        "model": attempt(lambda: client.models.retrieve("text-embedding-3-small").model_dump()),
        "missing_model": attempt(lambda: client.models.retrieve("gpt").model_dump()),
        "raw": client.embeddings.with_raw_response.create(input=TEXTS[0], model="default").parse().model_dump(),
    }
    done["base64"]["data"][0]["embedding"] = list(
        memoryview(base64.b64decode(done["base64"]["data"][0]["embedding"])).cast("f")
    )

    async def in_parallel():
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key=token, max_retries=0) as client:
            answers = await asyncio.gather(*[client.embeddings.create(input=t, model="default") for t in TEXTS])
            try:
                await client.embeddings.create(input="a", model="text-embedding-4")
            except openai.NotFoundError as error:
                refused = error.code
            return {"vectors": [answer.data[0].embedding for answer in answers], "refused": refused}

    done["async"] = asyncio.run(in_parallel())
    json.dump(done, sys.stdout)


main(*sys.argv[1:])
