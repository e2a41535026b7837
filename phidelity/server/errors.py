"""What a client is told when something is wrong: OpenAI's error object, with the status that its clients act on.

`{"error": {"message", "type", "param", "code"}}` everywhere, also for what the framework itself refuses (a
path that is not there). Messages say what was found, what was expected and what to do.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from phidelity.config import UserError
from phidelity.records import whole_characters

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
_LONGEST = 2000
"""Characters of a message; longer ones quote too much of what was sent (*ours*)."""


class ApiError(Exception):
    """A refusal: status, message, and where it applies the field at fault, a code, and headers."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The error object."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        message = whole_characters(self.message)
        if len(message) > _LONGEST:
            message = message[:_LONGEST] + " ..."
        param = whole_characters(self.param) if self.param else None
        return {"error": {"message": message, "type": kind, "param": param, "code": self.code}}

    def response(self) -> JSONResponse:
        """As an answer over HTTP."""
        return JSONResponse(self.body, self.status, self.headers)


async def on_error(request: Request, error: Exception) -> JSONResponse:
    """Any exception as an answer; what is no mistake of the client's is 500 and says no more than that."""
    return as_api_error(error).response()


def as_api_error(error: Exception) -> ApiError:
    """What a client is told of an exception."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, str(error.detail), headers=error.headers)
    if isinstance(error, UserError):
        return ApiError(400, str(error))
    return ApiError(500, "The server met an error of its own and wrote it to its log.")
