"""A client that fills or searches a collection of a Chroma server. Runs in the peers' virtual environment.

Chroma's users embed in their own process, as its server handles only vectors. It also ranks by vectors only: the
self-hosted server refuses a search by several legs ("not implemented for local executor"). Commands are lines of JSON
on standard input, each with one answer on standard output; the first line of output says that the model is loaded.
"""

# mypy: ignore-errors
import json
import sys
from contextlib import nullcontext

import chromadb
import numpy as np
from driving import drive
from sentence_transformers import SentenceTransformer

BATCH = 500


class Function(chromadb.EmbeddingFunction):
    """Embeds with a model from a folder; chromadb's own sentence-transformers wrapper takes a model's name at a hub."""

    def __init__(self, folder: str) -> None:
        self._model = SentenceTransformer(folder, device="cpu")

    def __call__(self, input: list[str]) -> list[np.ndarray]:
        return list(self._model.encode(input, show_progress_bar=False))


def main() -> None:
    folder, port = sys.argv[1], int(sys.argv[2])
    client = chromadb.HttpClient(host="127.0.0.1", port=port)
    collection = client.get_or_create_collection(
        "passages", embedding_function=Function(folder), configuration={"hnsw": {"space": "cosine"}}
    )

    def search(text: str) -> list[str]:
        return collection.query(query_texts=[text], n_results=10)["ids"][0]

    print(json.dumps({"loaded": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "passages" in asked:
            ids, texts = list(asked["passages"]), list(asked["passages"].values())
            for at in range(0, len(ids), BATCH):
                collection.add(ids=ids[at : at + BATCH], documents=texts[at : at + BATCH])
            answer = {"count": collection.count()}
        else:
            answer = drive(lambda: nullcontext(search), **asked)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
