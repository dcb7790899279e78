"""Tell words to a patient from words to a machine, which a label has where somebody hid them."""

from __future__ import annotations

import re

_ORDERS = re.compile(
    r"(?<![A-Za-z])(?:system|assistant|prompt|jailbreak|developer mode|override)(?![A-Za-z])"
    r"|(?:ignore|disregard|forget|bypass)\b.{0,30}\b(?:rules?|instructions?|previous|above|all|safety|guidelines?)\b"
    r"|\b(?:you are now|act as|pretend (?:to be|you)|tell the (?:patient|user)|repeat after me|"
    r"respond with|as an ai)\b"
    r"|(?:忽略|無視|无视|忘記|忘记|忘掉|不要理會|不要理会|不用管|跳過|跳过).{0,12}(?:規則|规则|指令|指示|設定|设定|限制|以上|之前|前面|所有)"
    r"|(?:系統|系统)(?:指令|提示|訊息|消息|–|:)|(?:告訴|告诉|跟)(?:病人|患者|使用者|用戶|用户)|你現在是|你现在是|(?:機器人|机器人)(?:請|请|要|必須|必须)",
    re.IGNORECASE,
)
"""Words to a machine, which no label has for a patient."""
_CLAUSE_END = re.compile(r"[。．.;；!！?？\n,，、]")


def without_orders(text: str) -> str:
    """Return a label's text up to where it speaks to a machine instead of to a patient.

    What follows such words belongs to them, so the clause that they stand in and all behind it
    goes.
    """
    found = _ORDERS.search(text)
    if found is None:
        return text
    ends = [match.end() for match in _CLAUSE_END.finditer(text, 0, found.start())]
    return text[: ends[-1] if ends else 0].rstrip(" ,，、;；")
