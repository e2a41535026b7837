"""Checkpoints by hub id (`microsoft/phi-4`, `owner/name@revision`), fetched into the hub client's own cache.

Small files come through huggingface_hub; weight files are fetched here, since the client keeps nothing of a file that
breaks off, and a shard of phi-4 has five gigabytes: what has arrived is kept and gone on with, then the file is
compared with the hash that the hub announced. HF_ENDPOINT, HF_HOME, HF_TOKEN and HF_HUB_OFFLINE mean what they
mean everywhere. microsoft/phi-4 is pinned to the commit that fixed its ids (release history, January 2025).
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, lockf
from pathlib import Path
from typing import IO, Any, NamedTuple

from phidelity.checkpoint.huggingface import INDEX, WEIGHTS, index_files
from phidelity.config import UserError
from phidelity.progress import SILENT, Progress, Task
from phidelity.records import file_sha256

PINNED = {"microsoft/phi-4": "6fbb3d3bbe726c99b4188087b4deeec1bceac5ae"}
"""The commit read when none is asked for."""

SMALL_FILES = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "cl100k_base.tiktoken",
    INDEX,
)
_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(@[\w./-]{1,100})?")


class HubFolder(NamedTuple):
    """A snapshot in the cache."""

    folder: Path
    source: str
    """`owner/name@commit`."""


def is_hub_id(source: Path | str) -> bool:
    """Whether `source` is a hub id rather than a path: of its form, and neither it nor its first part is here.

    `runs/<name>` never is: it is where runs are made, and who has none yet should not wait for a network.
    """
    text = str(source)
    owner = Path(text.split("/")[0])
    return bool(_ID.fullmatch(text)) and owner.name != "runs" and not Path(text).exists() and not owner.is_dir()


def fetch(source: str, *, weights: bool = True, progress: Progress = SILENT) -> HubFolder:
    """The snapshot folder of a hub id; with `weights=False` only what tells what the model is."""
    repo, _, revision = source.partition("@")
    with _told(repo, revision):
        first = _small(repo, revision or PINNED.get(repo, "main"), "config.json")
        if first is None:
            raise UserError(f"{repo} at the hub holds no config.json, so no model of this kind. Check the name.")
        folder, commit = first.parent, first.parent.name
        names = {name for name in SMALL_FILES if _small(repo, commit, name)}
        if weights:
            for name in index_files(folder) if INDEX in names else [WEIGHTS]:
                _large(repo, commit, name, progress)
    return HubFolder(folder, f"{repo}@{commit}")


def _small(repo: str, revision: str, name: str) -> Path | None:
    """A file by the client, or None where the repository has none of that name."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars("huggingface_hub.http_get")
    try:
        return Path(hf_hub_download(repo, name, revision=revision))
    except RemoteEntryNotFoundError:
        return None
    except LocalEntryNotFoundError:
        if is_offline_mode() and name != "config.json":
            return None
        raise


def _large(repo: str, commit: str, name: str, progress: Progress) -> None:
    """Put a weight file into the cache, going on with what an earlier try left, and check its hash."""
    import huggingface_hub as hub
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    if isinstance(hub.try_to_load_from_cache(repo, name, revision=commit), str):
        return
    url = hub.hf_hub_url(repo, name, revision=commit)
    metadata = hub.get_hf_file_metadata(url)
    if not metadata.etag or metadata.size is None:
        raise UserError(f"The hub announces neither hash nor size of {name}; expected both. Is HF_ENDPOINT a hub?")
    blob = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model") / "blobs" / metadata.etag
    if not blob.exists():
        partial = blob.with_name(blob.name + ".partial")
        partial.parent.mkdir(parents=True, exist_ok=True)
        _download(url, partial, metadata.size, name, progress)
        found = file_sha256(partial)
        if re.fullmatch("[0-9a-f]{64}", metadata.etag) and found != metadata.etag:
            partial.unlink()
            raise UserError(
                f"{repo}: {name} arrived with sha256 {found}; the hub announced {metadata.etag}. "
                "It was dropped; run the command again to fetch it anew."
            )
        partial.rename(blob)
    hub.hf_hub_download(repo, name, revision=commit)


def _download(url: str, partial: Path, size: int, name: str, progress: Progress) -> None:
    """Append to `partial` until it has `size` bytes; a broken connection is taken up again while bytes arrive."""
    with open(partial, "ab") as file, progress.task(f"fetch {name}", size, "bytes") as task:
        try:
            lockf(file, LOCK_EX | LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise UserError(f"Another process is fetching {name} into this cache. Wait for it.") from None
        task.advance(file.tell())
        while (have := file.tell()) < size:
            reason = _receive(url, file, task)
            if file.tell() <= have:
                raise UserError(
                    f"The hub stopped while sending {name}: {have:,} of {size:,} bytes are here ({reason}). "
                    "They are kept; run the command again to go on."
                )


def _receive(url: str, file: IO[bytes], task: Task) -> str:
    """Append what one request gives from where the file ends; returns why it ended."""
    import httpx
    from huggingface_hub.utils import build_hf_headers

    headers = build_hf_headers() | {"Range": f"bytes={file.tell()}-", "Accept-Encoding": "identity"}
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=60) as response:
            response.raise_for_status()
            if response.status_code != httpx.codes.PARTIAL_CONTENT:
                file.truncate(0)
                file.seek(0)
            for chunk in response.iter_raw():
                task.advance(file.write(chunk))
    except httpx.HTTPError as error:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return "it sent no more"


@contextmanager
def _told(repo: str, revision: str) -> Iterator[None]:
    """Turn what the client raises into one line that says what to do."""
    from huggingface_hub import errors

    http_error: Any = errors.HfHubHTTPError.__mro__[1]  # of the HTTP library that the client uses
    try:
        yield
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"No folder {repo} is here, and the hub has no such model or does not show it. "
            "Check the name; for a gated model set HF_TOKEN."
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{repo} at the hub has no revision {revision!r}. Give a branch, a tag or a commit.") from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled):
        raise UserError(
            f"{repo} is not in the cache, and the hub cannot be reached. Expected a folder of that name here, a filled "
            "cache, or a network (HF_HUB_OFFLINE unset)."
        ) from None
    except (http_error, errors.FileMetadataError) as error:
        text = str(error).strip().splitlines()
        reason = text[0].rstrip(".") if text else type(error).__name__
        raise UserError(f"The hub failed on {repo}: {reason}. Run the command again later.") from None
