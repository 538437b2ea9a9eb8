# SPDX-License-Identifier: GPL-3.0-or-later
"""With which HTTP status, and under which title, each failure of the release server is answered."""

STATUSES = {
    "API_KEY_MISSING": (401, "API key missing"),
    "API_KEY_REFUSED": (401, "API key refused"),
    "API_SCOPE": (403, "Not allowed with this API key"),
    "SIGNATURE_MISSING": (401, "Signature missing"),
    "SIGNATURE_INVALID": (401, "Signature not valid"),
    "SIGNATURE_KEY": (401, "Signing key not known"),
    "SIGNATURE_CLOCK": (401, "Clock is wrong"),
    "SIGNATURE_SCHOOL": (403, "Keys of different schools"),
    "SIGNATURE_REPLAYED": (409, "Request was received before"),
    "REPORT_DIFFERS": (409, "Run was reported otherwise"),
    "RELEASE_UNKNOWN": (404, "No such release"),
    "RELEASE_ARCHITECTURE": (404, "No images for this architecture"),
    "CHANNEL_EMPTY": (404, "No release in this channel"),
    "SERVER_RELEASES": (503, "Releases not usable"),
    "SERVER_DATABASE": (503, "Database not usable"),
}

REFUSALS = frozenset(code for code in STATUSES if code.startswith(("API_", "SIGNATURE_")))
"""What goes into the audit trail."""
