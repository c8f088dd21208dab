"""How values of options are spelled, as regular expressions. They are compiled at their first use."""

IDENTIFIER = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"  # as the packaging library takes it
_EXTRAS = rf"\[\s*(?:{IDENTIFIER}\s*(?:,\s*{IDENTIFIER}\s*)*)?\]"
_CLAUSE = r"(?:===|==|~=|!=|<=|>=|<|>)\s*[^\s,;()]+"
_CLAUSES = rf"(?:{_CLAUSE}\s*(?:,\s*{_CLAUSE}\s*)*,?)"
_MARKER = r"(?:;.+)?"
REQUIREMENT = (
    rf"(?s)\s*{IDENTIFIER}\s*(?:{_EXTRAS}\s*)?"
    rf"(?:@\s*\S+(?:\s+;.+)?|(?:\(\s*{_CLAUSES}?\s*\)|{_CLAUSES})?\s*{_MARKER})\s*"
)
IMAGE = r"[A-Za-z0-9][\w.-]*(?::\d+)?(?:/[\w.-]+)*(?::[\w.-]{1,128})?(?:@sha256:[0-9a-f]{64})?"
APT_PACKAGE = r"[A-Za-z0-9][A-Za-z0-9+.-]*(?::[a-z0-9-]+)?(?:=[A-Za-z0-9.+:~-]+)?"
