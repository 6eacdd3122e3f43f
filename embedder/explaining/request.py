"""The request and the result of an explanation."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from core.errors import InvalidControl, InvalidInput
from core.prompts import MAX_FACTOR, ControlOptions, Prompt, TextItem, TokenOverlap

DEFAULT_FACTOR = 0.1
MAX_CHARACTERS = 100_000  # of a prompt's texts together, and of a target: an explanation reads them hundreds of times


class Granularity(StrEnum):
    """The parts that a prompt is split into.

    Images are split into 12x12, 6x6, 3x3, 1 and 1 tiles, in the order of the members below. Items of token ids are
    always split into their tokens.
    """

    TOKEN = "token"
    WORD = "word"
    SENTENCE = "sentence"
    PARAGRAPH = "paragraph"  # separated by blank lines
    CUSTOM = "custom"  # separated by a given delimiter


class TargetGranularity(StrEnum):
    """Whether the target is explained as a whole or token by token."""

    COMPLETE = "complete"  # one explanation, of the whole target
    TOKEN = "token"  # one for each of the target's tokens


class Postprocessing(StrEnum):
    """What is applied to the raw scores."""

    NONE = "none"
    ABSOLUTE = "absolute"
    SQUARE = "square"


class ObjectiveName(StrEnum):
    """The value whose drop, when a part is suppressed, is the part's score."""

    SIMILARITY = "similarity"  # cosine of the embeddings of prompt and target
    CROSS_ENTROPY = "cross_entropy"  # natural log probability of the target as a continuation of the prompt


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplanationRequest:
    """A prompt and the target to explain by it. Raises InvalidInput or InvalidControl that names the invalid field."""

    prompt: Prompt
    target: str
    granularity: Granularity | None = None  # None: the one that splits the prompt into about 30 parts
    delimiter: str | None = None  # required with the granularity CUSTOM, not allowed with others
    target_granularity: TargetGranularity = TargetGranularity.COMPLETE
    postprocessing: Postprocessing = Postprocessing.NONE
    normalize: bool = False  # after the postprocessing: lowest score 0, highest 1; all 0 if they are equal
    control_factor: float = DEFAULT_FACTOR  # put on the suppressed part; multiplies with the prompt's own controls
    token_overlap: TokenOverlap = TokenOverlap.PARTIAL  # for tokens that lie only partly within a part
    options: ControlOptions = field(default_factory=ControlOptions)

    def __post_init__(self) -> None:
        if not self.target.strip():
            raise InvalidInput("the target is empty: give the text that is to be explained", param="target")
        texts = sum(len(item.text) for item in self.prompt.items if isinstance(item, TextItem))
        for param, length in (("prompt", texts), ("target", len(self.target))):
            if length > MAX_CHARACTERS:
                raise InvalidInput(
                    f"the {param} has {length} characters: at most {MAX_CHARACTERS} can be explained", param=param
                )
        if self.granularity is Granularity.CUSTOM and not self.delimiter:
            raise InvalidInput(
                "a custom granularity needs a delimiter of at least one character", param="prompt_granularity"
            )
        if self.delimiter is not None and self.granularity is not Granularity.CUSTOM:
            raise InvalidInput("a delimiter goes with the granularity custom only", param="prompt_granularity")
        if not (math.isfinite(self.control_factor) and 0 <= self.control_factor <= MAX_FACTOR):
            raise InvalidControl(
                f"control_factor {self.control_factor}: must be a number from 0 to {MAX_FACTOR:g}",
                param="control_factor",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class SpanScore:
    """The importance of a part of a text."""

    start: int  # first character, code points
    length: int
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TileScore:
    """The importance of a rectangle of an image. Coordinates are fractions of the entire image, 0 to 1."""

    left: float
    top: float
    width: float
    height: float
    score: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TextScores:
    """The scores of a text item's parts."""

    scores: tuple[SpanScore, ...]  # in text order


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenIdsScores:
    """The scores of a token-ids item's tokens."""

    scores: tuple[float, ...]  # one for each token


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageScores:
    """The scores of an image item's tiles."""

    scores: tuple[TileScore, ...]  # row by row


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """The importance of all parts of the prompt for one part of the target.

    A positive score means that the objective drops when the part is suppressed.
    """

    target: str  # the part of the target that is explained
    items: tuple[TextScores | TokenIdsScores | ImageScores, ...]  # one for each item of the prompt
    target_scores: tuple[SpanScore, ...]  # of the target's tokens before this part; empty for the complete target
    value: float  # the objective with nothing suppressed


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplanationResult:
    """One explanation for each part of the target; the parts join to the whole target."""

    explanations: tuple[Explanation, ...]
    objective: ObjectiveName
    granularity: Granularity  # as requested, or as chosen automatically
    truncated: bool  # whether the model cut prompt or target: parts that were cut off have no importance
    model: str
    fingerprint: str
