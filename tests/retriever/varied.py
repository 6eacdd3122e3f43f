"""Documents of few words in many orders: phrases stand in some of them by chance, and values are shared."""

import random

from core.records import Document

ENGLISH = "the quick player plays a game on the big screen with old friends and the games are played at night".split()
GERMAN = "die schnellen Spieler spielen am Abend ein Spiel auf dem Bildschirm und die Freunde schauen zu".split()
CHINESE = "机器学习的方法很多我们在晚上玩游戏"
FILLER = {
    "en": "This was written in English, so that there is no doubt about the language of it. ",
    "de": "Das hier ist auf Deutsch geschrieben, damit es keinen Zweifel an der Sprache gibt. ",
    "zh": "这是用中文写的文本，所以对语言没有疑问。",
}
COUNT = 90


def varied_documents() -> list[Document]:
    rng = random.Random(5)
    return [_document(rng, number) for number in range(COUNT)]


def _document(rng: random.Random, number: int) -> Document:
    language = rng.choice(["en", "en", "de", "zh"])
    if language == "zh":
        text = "，".join("".join(rng.choices(CHINESE, k=rng.randint(1, 6))) for _ in range(rng.randint(2, 8)))
        title = "".join(rng.choices(CHINESE, k=4))
    else:
        words = ENGLISH if language == "en" else GERMAN
        text = _sentences(rng, words)
        title = " ".join(rng.choices(words, k=3)) if number % 3 else ""
    return Document(id=f"d{number}", title=title, text=FILLER[language] + text, metadata=_metadata(rng, number))


def _sentences(rng: random.Random, words: list[str]) -> str:
    return " ".join(", ".join(" ".join(rng.choices(words, k=rng.randint(2, 6))) for _ in "12") + "." for _ in range(4))


def _metadata(rng: random.Random, number: int) -> dict[str, object]:
    found: dict[str, object] = {"price": rng.choice([5, 5, 7.5, 10]), "new": rng.random() < 0.5}
    if number % 5:
        found["brand"] = rng.choice(["HP", "Xerox", ["HP", "Canon"], ["Canon", None], "x" * 2000])
    if number % 7 == 0:
        found["brand"] = None
    if number % 2:
        found["made"] = rng.choice(["2024-05-01", "2024-05-01T00:00:00Z", "2023-12-31T23:00:00-01:00", "2021"])
    if number % 3 == 0:
        found["mixed"] = rng.choice([1, True, "1", "one"])
    return found
