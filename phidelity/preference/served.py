"""A model behind an endpoint as one that says which tokens it continues, for the search.

Any endpoint will do that continues token ids (vLLM, SGLang, our own), or else a plain text: then the chat is sent as
the text of its ids. Answers come as text and are read as the ids of the model's own tokenizer. So an answer has the ids
that its text has when it is encoded, which may differ from those sampled; p(success) at a prefix of them is exact where
ids are sent, and where text is sent as exact as the endpoint reads the prefix with the same ids.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from phidelity.completion import Capabilities, Completer, Completion, Prompt, SamplingParams
from phidelity.preference.questions import Question, messages_of
from phidelity.records import Conversation
from phidelity.tokenizer.bpe import Tokenizer


@dataclass(frozen=True, slots=True)
class Served:
    """A Completer of token ids over one whose answers are texts."""

    completer: Completer
    tokenizer: Tokenizer
    prefix: Literal["ids", "text"] = "ids"
    """How prompts are sent."""

    @property
    def name(self) -> str:
        """That of the completer behind it, and how it is asked."""
        return f"{self.completer.name} by {self.prefix}"

    @property
    def capabilities(self) -> Capabilities:
        """Prompts of token ids."""
        return self.completer.capabilities.model_copy(update={"tokens": True})

    def complete(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Completions with the ids of their texts; a log-probability for each, or the same for all where none fit."""
        asked = [self._sent(prompt) for prompt in prompts]
        done = self.completer.complete(
            asked, params.model_copy(update={"logprobs": 0}), on_done and (lambda at, one: on_done(at, self._read(one)))
        )
        return [self._read(one) for one in done]

    def logprobs(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        """What the completer behind it says."""
        return self.completer.logprobs(prompts)

    def _sent(self, prompt: Prompt) -> Prompt:
        return self.tokenizer.decode(prompt) if self.prefix == "text" and isinstance(prompt, tuple) else prompt

    def _read(self, one: Completion) -> Completion:
        if one.finish_reason not in ("stop", "length"):
            return one
        ids = tuple(self.tokenizer.encode(one.text))
        if one.finish_reason == "stop":
            ids = (*ids, self.tokenizer.im_end)
        logprobs = one.logprobs + (0.0,) * (one.finish_reason == "stop")
        if len(one.logprobs) == len(ids):
            logprobs = one.logprobs
        fits = len(logprobs) == len(ids)
        return one.model_copy(update={"tokens": ids, "logprobs": logprobs if fits else (-1.0,) * len(ids)})


@dataclass(frozen=True, slots=True)
class Chatting:
    """A Completer of token ids over another model, which is asked the question as a chat and answers in its own words.

    Its answers have the ids of their texts in the policy's tokenizer. It cannot go on after a prefix.
    """

    completer: Completer
    tokenizer: Tokenizer
    questions: Mapping[str, Question]

    @property
    def name(self) -> str:
        """That of the completer behind it, and how it is asked."""
        return f"{self.completer.name} by chat"

    @property
    def capabilities(self) -> Capabilities:
        """Prompts of token ids."""
        return self.completer.capabilities.model_copy(update={"tokens": True})

    def complete(
        self,
        prompts: Sequence[Prompt],
        params: SamplingParams,
        on_done: Callable[[int, Completion], None] | None = None,
    ) -> list[Completion]:
        """Whole answers to the questions that `prompts` open, with the ids of their texts."""
        chats = {
            one.prompt: Conversation(id=name, messages=tuple(messages_of(one.problem)), source="question")
            for name, one in self.questions.items()
        }
        asked = [chats[prompt] for prompt in prompts if isinstance(prompt, tuple)]
        assert len(asked) == len(prompts), "questions are asked by their ids"
        done = self.completer.complete(asked, params, on_done)
        return [self._read(one) for one in done]

    def logprobs(self, prompts: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        """Another model's ids are not the policy's."""
        raise TypeError(f"{self.name} scores no ids of this tokenizer")

    def _read(self, one: Completion) -> Completion:
        if one.finish_reason not in ("stop", "length"):
            return one
        ids = tuple(self.tokenizer.encode(one.text)) + (self.tokenizer.im_end,) * (one.finish_reason == "stop")
        return one.model_copy(update={"tokens": ids, "logprobs": ()})
