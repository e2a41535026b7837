"""A judge that is asked in batches and never twice: any Completer, its replies kept.

Graders call `ask`. A question whose reply is known returns it; a new one is noted and returns None, so the score is
undetermined for now. `settle` puts all that was noted to the Completer in one call, after which grading again finds
the replies. Replies stand in an append-only JSON-lines file, keyed by judge, parameters and prompt, so that what a
judge said can be read and a run that is graded again pays nothing.
"""

import hashlib
import json
import os
import threading
from pathlib import Path

from phidelity.completion import Completer, SamplingParams
from phidelity.records import Conversation, Message


class Referee:
    """A judge with a memory; safe to be asked from several threads."""

    def __init__(self, completer: Completer, params: SamplingParams | None = None, path: Path | None = None) -> None:
        """`path` is where replies are kept; without it they last as long as this object."""
        self.completer, self.path = completer, path
        self.params = params or SamplingParams(max_tokens=1024)
        self.n_asked = 0
        """Questions put to the Completer by this object."""
        self._replies: dict[str, str] = _read(path) if path else {}
        self._wanted: dict[str, str] = {}
        self._shown: set[str] = set()
        self._lock = threading.Lock()

    def ask(self, prompt: str) -> str | None:
        """The reply to a user's message; None where it has yet to be asked (see `settle`)."""
        key = self.key(prompt)
        with self._lock:
            self._shown.add(key)
            if key not in self._replies:
                self._wanted[key] = prompt
            return self._replies.get(key)

    @property
    def n_shown(self) -> int:
        """Different questions that graders had, answered or not."""
        return len(self._shown)

    def settle(self) -> int:
        """Put all open questions to the judge; returns how many were answered now. A failed reply stays open."""
        with self._lock:
            wanted, self._wanted = self._wanted, {}
        if not wanted:
            return 0
        chats = [_chat(prompt) for prompt in wanted.values()]
        completions = self.completer.complete(chats, self.params)
        self.n_asked += len(chats)
        said = {key: one.text for key, one in zip(wanted, completions, strict=True) if one.finish_reason != "error"}
        self._keep({key: (wanted[key], text) for key, text in said.items()})
        with self._lock:
            self._replies.update(said)
        return len(said)

    def key(self, prompt: str) -> str:
        """What a reply is kept under: a hash of judge, parameters and prompt."""
        parts = (self.completer.name, self.params.model_dump_json(), prompt)
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _keep(self, said: dict[str, tuple[str, str]]) -> None:
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {"key": key, "judge": self.completer.name, "prompt": prompt, "reply": reply}
            for key, (prompt, reply) in said.items()
        ]
        with open(self.path, "ab") as file:
            file.write(b"\n" if _is_torn(self.path) else b"")
            file.write(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
            file.flush()
            os.fsync(file.fileno())


def _chat(prompt: str) -> Conversation:
    return Conversation(id="judge", messages=(Message(role="user", content=prompt),), source="judge")


def _is_torn(path: Path) -> bool:
    """Whether a kill left a line without its end."""
    return path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")


def _read(path: Path) -> dict[str, str]:
    """The replies of a file; a line torn by a kill ends it and is asked again."""
    replies: dict[str, str] = {}
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            row = json.loads(line)
            replies[row["key"]] = row["reply"]
        except (ValueError, KeyError, TypeError):
            continue
    return replies
