"""What the system refuses about a run's folder, told in one line with sizes."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from phidelity.config import UserError
from phidelity.pipeline.manifest import output_files
from phidelity.progress import readable_size

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def plain_errors(out: Path) -> Iterator[None]:
    """Turn what the system refuses about `out` into one line with sizes; other errors are left alone."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if _is_full(error):
            raise UserError(_explain_full(out, error)) from error
        if isinstance(error, OSError) and _concerns(error, out):
            raise UserError(
                f"Cannot write to {error.filename}: {error.strerror}. Expected a folder that you may write to; mend "
                "that or use another --out."
            ) from error
        raise


def _is_full(error: Exception) -> bool:
    """Also for libraries that write outside Python and wrap the system's message."""
    return (isinstance(error, OSError) and error.errno in _FULL) or os.strerror(errno.ENOSPC) in str(error)


def _explain_full(out: Path, error: Exception) -> str:
    used = sum(path.stat().st_size for path in output_files(out)) if out.is_dir() else 0
    where = next(folder for folder in (out, *out.absolute().parents) if folder.is_dir())
    disk = shutil.disk_usage(where)
    held, free, total = (readable_size(n_bytes) for n_bytes in (used, disk.free, disk.total))
    return (
        f"No room to write in {out} ({error}): the run holds {held}, the disk has {free} free of {total}. Make room "
        "and give the same command: it goes on where it stood."
    )


def _concerns(error: OSError, out: Path) -> bool:
    refused = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG)
    if error.errno not in refused or not isinstance(error.filename, str | bytes | os.PathLike):
        return False
    path, root = Path(os.fsdecode(error.filename)).absolute(), out.absolute()
    return path.is_relative_to(root) or root.is_relative_to(path)
