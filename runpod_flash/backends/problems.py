"""What a platform's refusals mean: an HTTP status and a problem document become an error of ours. One place for all."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runpod_flash import errors
from runpod_flash.errors import FlashError

_BY_CODE: dict[str, type[FlashError]] = {
    kind.__name__: kind
    for kind in (
        errors.AppNotFound,
        errors.AuthError,
        errors.BackendError,
        errors.BackendUnavailable,
        errors.CallError,
        errors.ConfigError,
        errors.ContentNotFound,
        errors.EndpointNotFound,
        errors.InstallError,
        errors.JobNotFound,
        errors.NameTaken,
        errors.NotPortable,
        errors.PayloadTooLarge,
        errors.ShippingError,
        errors.StageBusy,
        errors.StageMoved,
        errors.StageNotFound,
        errors.VolumeFileNotFound,
        errors.VolumeNotFound,
        errors.WireMismatch,
    )
}
_BY_STATUS: dict[int, type[FlashError]] = {
    400: errors.ConfigError,
    401: errors.AuthError,
    403: errors.AuthError,
    413: errors.PayloadTooLarge,
    422: errors.ConfigError,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is not what was asked for. `missing` is the error that a 404 means for this request."""

    status: int
    body: bytes
    request: str  # "GET /v2/serverless"
    platform: str  # as a user knows it: a URL, or "the embedded control plane"
    key_hint: str  # where the key comes from and how to set it
    missing: type[FlashError] = errors.BackendError

    def error(self) -> FlashError:
        """The error to raise: by the document's `code`, else by the status."""
        problem = self._problem()
        kind = _BY_CODE.get(str(problem.get("code"))) or self._kind()
        said = _said(problem) or f"HTTP status {self.status}"
        if issubclass(kind, errors.AuthError):
            return kind(f"{self.platform} refuses the key ({said}); {self.key_hint}")
        if _BY_CODE.get(str(problem.get("code"))) or issubclass(kind, errors.ConfigError | errors.PayloadTooLarge):
            return kind(said)
        return kind(f"{self.platform} answered {self.request} with: {said}")

    def _kind(self) -> type[FlashError]:
        return self.missing if self.status == 404 else _BY_STATUS.get(self.status, errors.BackendError)

    def _problem(self) -> Mapping[str, Any]:
        try:
            problem = json.loads(self.body)
        except ValueError:
            return {"detail": self.body[:300].decode(errors="replace").strip()}
        return problem if isinstance(problem, dict) else {}


def _said(problem: Mapping[str, Any]) -> str:
    """The document's own words. Job APIs also answer `{"error": text}`, management APIs `{"message": text}`."""
    said = next((str(problem[name]) for name in ("detail", "error", "message", "title") if problem.get(name)), "")
    listed = problem.get("errors")
    if isinstance(listed, list) and listed:
        return "; ".join(dict.fromkeys([*([said] if said else []), *map(str, listed)]))
    return said
