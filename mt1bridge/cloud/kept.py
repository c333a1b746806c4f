"""What is kept in the state directory over a restart, beside the journal: token, budget, how far back the first start
reached (DESIGN, "Manners towards the server"; CONTRACT, section 8, `first_start`)."""

import json
from dataclasses import asdict
from typing import Any

from mt1bridge.cloud.budget import BudgetMemo
from mt1bridge.cloud.outcomes import KeptToken
from mt1bridge.model.secret import Secret

TOKEN_FILE = "token.json"
BUDGET_FILE = "budget.json"
FIRST_START_FILE = "first-start.json"


def token_to_text(kept: KeptToken, url: str) -> bytes:
    """The only place where a token is written down; the file is for us alone (mode 0600)."""
    body = {
        "url": url,
        "username": kept.username,
        "account": kept.account,
        "obtained_ms": kept.obtained_ms,
        "token": kept.token.reveal(),
    }
    return json.dumps(body).encode()


def token_from(body: dict[str, Any] | None, url: str) -> KeptToken | None:
    """None where there is none, it is of another server, or its shape is not ours."""
    if body is None or body.get("url") != url:
        return None
    texts = [body.get(name) for name in ("username", "token", "account")]
    obtained_ms = body.get("obtained_ms")
    if not isinstance(obtained_ms, int) or not all(isinstance(text, str) and text for text in texts):
        return None
    username, token, account = (str(text) for text in texts)
    return KeptToken(username, Secret(token), account, obtained_ms)


def memo_to_text(memo: BudgetMemo) -> bytes:
    return json.dumps(asdict(memo)).encode()


def memo_from(body: dict[str, Any] | None) -> BudgetMemo | None:
    if body is None or not isinstance(body.get("saved_ms"), int):
        return None
    names = BudgetMemo.__slots__
    fields = {
        name: body[name] for name in names if isinstance(body.get(name), int) and not isinstance(body[name], bool)
    }
    return BudgetMemo(**fields)


def first_start_to_text(cut_ms: int) -> bytes:
    return json.dumps({"cut_ms": cut_ms}).encode()


def first_start_from(body: dict[str, Any] | None) -> int | None:
    """UTC ms; None before the first start."""
    cut_ms = body.get("cut_ms") if body is not None else None
    return cut_ms if isinstance(cut_ms, int) else None
